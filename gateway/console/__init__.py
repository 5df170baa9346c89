"""The pages people see in a browser: handlers here, their templates and static files beside them."""
