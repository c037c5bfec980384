# The project on a CPU. Build it, then run the default experiment; the graph and MLflow are shown while the container runs:
#
#     docker build --tag linear-video .
#     docker run --detach --name linear-video --publish 4141:4141 --publish 5000:5000 linear-video
#     docker logs --follow linear-video
#
# Then open http://localhost:4141 (Kedro-Viz) and http://localhost:5000 (MLflow). "docker exec linear-video kedro run ..."
# runs anything else, and "docker cp linear-video:/home/linear/linear-video/data ." fetches the results.
FROM python:3.11-slim

# PyTorch without CUDA. For a GPU, build with --build-arg TORCH_INDEX= and run with --gpus all.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$TORCH_INDEX \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=true

RUN useradd --create-home --uid 1000 linear
USER 1000
WORKDIR /home/linear/linear-video
RUN python -m venv /home/linear/venv
ENV PATH=/home/linear/venv/bin:$PATH

# What the project depends on changes rarely; with an empty package, this layer stays when the code changes.
COPY --chown=linear pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir --parents src/linear_video \
    && touch src/linear_video/__init__.py \
    && pip install --constraint constraints.txt --editable .
COPY --chown=linear . .

EXPOSE 4141 5000
CMD ["sh", "-c", "kedro run --pipelines=ile \
    && { kedro viz run --host 0.0.0.0 --no-browser & \
    exec mlflow ui --backend-store-uri sqlite:///mlflow.db --host 0.0.0.0; }"]
