# The image of every step on Kubeflow: the locked packages, and this repository as the working directory.
#   docker build -t REGISTRY/rmtl-tf:$(git rev-parse --short HEAD) .
FROM python:3.11-slim AS packages
RUN pip install --no-cache-dir "uv>=0.9"
COPY requirements.txt .
RUN python -m venv /opt/venv && VIRTUAL_ENV=/opt/venv uv pip install --no-cache -r requirements.txt

FROM python:3.11-slim
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /app
COPY pipeline.py ./
COPY commands ./commands
COPY components ./components
COPY rmtl_tf ./rmtl_tf
COPY data_schemas ./data_schemas
COPY configs ./configs
# Artifacts may be mounted for any user; the code needs none in particular.
RUN useradd --create-home --uid 1000 rmtl && python -m compileall -q commands components rmtl_tf
USER rmtl
ENTRYPOINT ["python3", "pipeline.py"]
