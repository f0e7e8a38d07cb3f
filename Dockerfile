# syntax=docker/dockerfile:1

# --- Build: a wheel of the service, and a virtual environment of what the wheel needs ----------------
FROM python:3.12-slim AS build

WORKDIR /source
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY .ci/locked.py .ci/

# Every package comes in the version and with the hash that requirements.lock names. The test tools
# in the lock are left out.
RUN python .ci/locked.py . > /tmp/run.lock \
    && python .ci/locked.py hatchling > /tmp/build.lock \
    && python -m venv /opt/model-service \
    && /opt/model-service/bin/pip install --no-cache-dir --require-hashes -r /tmp/run.lock \
    && python -m venv /tmp/build \
    && /tmp/build/bin/pip install --no-cache-dir --require-hashes -r /tmp/build.lock

COPY src src
RUN /tmp/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/model-service/bin/pip install --no-cache-dir --no-index --no-deps /tmp/wheel/*.whl \
    && /opt/model-service/bin/pip uninstall --quiet --yes pip

# --- Run: no compiler, no pip of ours, not root --------------------------------------------------------
FROM python:3.12-slim

# PostgreSQL's tools look their user up by name, so the account has to exist.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin model-service \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/model-service /opt/model-service

ENV PATH=/opt/model-service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production \
    DATA_DIR=/data

USER 10001:10001
# The working directory is where `.env` would be looked for; settings come from the environment here.
WORKDIR /data
# All that is written: /data, and /tmp, which can be a tmpfs. The root file system can be read-only:
#   docker run --read-only --tmpfs /tmp --volume model-service:/data --env-file production.env ...
VOLUME /data
EXPOSE 3004

HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD [ \
    "python", "-c", \
    "import os; from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open(f'http://127.0.0.1:{os.environ.get(\"PORT\") or 3004}/api/health', timeout=2)" ]

ENTRYPOINT ["model-service"]
CMD ["serve"]
