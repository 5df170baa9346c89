"""``/v1/context``: the memories that matter for a task, within a budget of tokens."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency

from engine.catalogue.context import BUILD, PROMPT, BuildContext, Context, InjectionPrompt, Prompt
from gateway.api.problem_schema import PROBLEMS
from gateway.execution import Execution
from tenants.registry.keys import Principal


@post("/context", status_code=200, responses=PROBLEMS, summary="Build a context", tags=["search"])
async def build_context(
    request: Request[Principal, Any, Any], data: BuildContext, execution: NamedDependency[Execution]
) -> Context:
    """Choose the memories that matter for a task, and say why each is there."""
    result: Context = await execution.run(request.user, BUILD, data)
    return result


@post("/context/prompt", status_code=200, responses=PROBLEMS, summary="A context as one text", tags=["search"])
async def injection_prompt(
    request: Request[Principal, Any, Any], data: InjectionPrompt, execution: NamedDependency[Execution]
) -> Prompt:
    """Return the same as one text of quoted memories, to put into a prompt."""
    result: Prompt = await execution.run(request.user, PROMPT, data)
    return result


ROUTES = [build_context, injection_prompt]
