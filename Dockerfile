# One image for all commands of Nightread. It holds what `make setup` installs.
FROM python:3.13.9-slim-bookworm AS build
WORKDIR /opt/nightread
COPY lock/serve.txt lock/serve.txt
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r lock/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
COPY webui webui
COPY training training
COPY models models
COPY migrations migrations
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q .venv worker webui training migrations

FROM python:3.13.9-slim-bookworm
LABEL org.opencontainers.image.title=nightread org.opencontainers.image.version=0.3.0
# A user that the host does not have. The data folder on the host must belong to 10001. The signer, another user, passes
# through the folder without reading it.
RUN useradd --uid 10001 --create-home nightread && install -d -m 0711 -o nightread -g nightread /data
COPY --from=build /opt/nightread /opt/nightread
ENV PATH=/opt/nightread/.venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NIGHTREAD_DATA=/data NIGHTREAD_LOG_FORMAT=json
USER nightread
WORKDIR /data
ENTRYPOINT ["nightread"]
CMD ["--help"]
