# One node of Engram Cloud: gateway, host, fork server, embedder and replicator under one supervisor, with the model inside.
#
#   docker build --tag engram-cloud .
#   docker run --publish 8080:8080 --volume engram-data:/data engram-cloud

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# What both environments are made with, and the dependencies, which change less often than the code.
FROM ${PYTHON_IMAGE} AS dependencies
RUN pip install --no-cache-dir --disable-pip-version-check "uv>=0.8"
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/engram/venv
WORKDIR /src
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-default-groups --no-install-project

# The model is made here and only its folder is taken along: the weights as published and the tools that turn them into the
# int8 network are five times the size of the result.
FROM dependencies AS model
ENV UV_PROJECT_ENVIRONMENT=/opt/engram/tools
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-default-groups --group model --no-install-project
COPY engine ./engine
RUN /opt/engram/tools/bin/python -m engine.embedder.prepare --models-dir /opt/engram/models

# The code goes into the environment as a wheel: nothing in the image refers to this folder.
FROM dependencies AS application
COPY README.md LICENSE ./
COPY infra ./infra
COPY billing ./billing
COPY quotas ./quotas
COPY tenants ./tenants
COPY gateway ./gateway
COPY engine ./engine
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-default-groups --no-editable

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Engram Cloud" \
      org.opencontainers.image.description="A private memory database for every customer's AI agents" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The number is fixed: files on a volume belong to it from one image to the next.
RUN groupadd --system --gid 10001 engram \
 && useradd --system --uid 10001 --gid engram --home-dir /data --no-create-home --shell /usr/sbin/nologin engram \
 && install --directory --owner engram --group engram --mode 0711 /data
COPY --from=model /opt/engram/models /opt/engram/models
COPY --from=application /opt/engram/venv /opt/engram/venv

ENV PATH=/opt/engram/venv/bin:$PATH \
    ENGRAM_HOST=0.0.0.0 \
    ENGRAM_PORT=8080 \
    ENGRAM_DATA_DIR=/data \
    ENGRAM_MODELS_DIR=/opt/engram/models \
    ENGRAM_USER=engram

VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['ENGRAM_PORT'] + '/health', timeout=4)"]

# Starts as root, only to make the volume's owner the user engram and to run the supervisor. Every program runs as that user.
CMD ["engram", "up", "--logs"]
