# The image of cicd-exporter: docs/DOCKER.md says how to run it. Nothing here is bound to one
# architecture; the release builds it for several.

FROM python:3.13-slim AS build
WORKDIR /src

# The locked libraries, each checked against its hashes. Wheels only: there is no compiler here.
COPY requirements.txt requirements-build.txt ./
RUN python -m venv --without-pip /opt/cicd-exporter \
    && python -m pip --python /opt/cicd-exporter install --no-cache-dir --no-compile --no-deps \
        --only-binary=:all: --require-hashes --requirement requirements.txt \
    && python -m venv --without-pip /opt/build \
    && python -m pip --python /opt/build install --no-cache-dir --no-deps \
        --only-binary=:all: --require-hashes --requirement requirements-build.txt

# The exporter, as the wheel that a release has. The commit is shown in cicd_exporter_build_info.
COPY pyproject.toml README.md LICENSE ./
COPY exporter exporter
COPY docs docs
ARG REVISION=""
RUN printf '%s\n' "$REVISION" >exporter/REVISION \
    && /opt/build/bin/python -m hatchling build -t wheel -d dist \
    && python -m pip --python /opt/cicd-exporter install --no-cache-dir --no-compile --no-deps \
        --no-index dist/*.whl \
    && python -m compileall -qf --invalidation-mode unchecked-hash /opt/cicd-exporter/lib


FROM python:3.13-slim
COPY --from=build /opt/cicd-exporter /opt/cicd-exporter
# The state's folder. Group 0 may write as well: OpenShift runs containers as any user, in group 0.
# The base has no bytecode of the standard library and nobody could write it later; --help writes
# that of the modules it imports, which are those of every start.
RUN install -d -o 65532 -g 0 -m 0770 /var/lib/cicd-exporter \
    && /opt/cicd-exporter/bin/cicd-exporter --help

ENV PATH="/opt/cicd-exporter/bin:$PATH"
# A relative path of the state, as the default is one, leads to the volume.
WORKDIR /var/lib/cicd-exporter
VOLUME /var/lib/cicd-exporter
EXPOSE 10054
USER 65532:65532
ENTRYPOINT ["/opt/cicd-exporter/bin/cicd-exporter"]
CMD ["run", "--config.file=/etc/cicd-exporter/config.yaml"]

ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="cicd-exporter" \
      org.opencontainers.image.description="Builds and jobs of many CI systems as Prometheus metrics, each counted exactly once" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
