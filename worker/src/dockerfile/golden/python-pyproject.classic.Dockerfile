FROM python:3.10-slim-bookworm AS build
WORKDIR /app
ARG API_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
RUN python -m venv /venv
COPY pyproject.toml ./
RUN python -c "import pip._vendor.tomli as toml; print(*toml.load(open('pyproject.toml', 'rb')).get('project', {}).get('dependencies', []), sep='\n')" > /opt/requirements.txt
RUN pip install --no-cache-dir -r /opt/requirements.txt \
    || (apt-get update \
        && apt-get install -y --no-install-recommends build-essential pkg-config python3 git \
        && rm -rf /var/lib/apt/lists/* \
        && pip install --no-cache-dir -r /opt/requirements.txt)
COPY . .

FROM python:3.10-slim-bookworm
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
