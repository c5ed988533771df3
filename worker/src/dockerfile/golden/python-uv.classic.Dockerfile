FROM python:3.12-slim-bookworm AS build
WORKDIR /app
ARG API_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
RUN python -m venv /venv
RUN python -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv
ENV UV_PROJECT_ENVIRONMENT=/venv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
COPY pyproject.toml uv.lock* ./
RUN /opt/uv/bin/uv sync --no-dev --no-install-project --frozen --no-cache \
    || (apt-get update \
        && apt-get install -y --no-install-recommends build-essential pkg-config python3 git \
        && rm -rf /var/lib/apt/lists/* \
        && /opt/uv/bin/uv sync --no-dev --no-install-project --frozen --no-cache)
COPY . .

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app:/app/src PORT=8000 HOST=0.0.0.0 HOME=/tmp VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
COPY --from=build /venv /venv
COPY --from=build --chown=10001:10001 /app ./
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["sh","-c","exec uvicorn main:app --host 0.0.0.0 --port \"${PORT}\""]
