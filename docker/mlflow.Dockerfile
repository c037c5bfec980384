# MLflow's server, with what it needs for PostgreSQL and for an object store; compose.yml starts it.
FROM python:3.11-slim
RUN pip install --no-cache-dir mlflow==3.17.2 "psycopg[binary]==3.3.9" boto3==1.43.117
RUN useradd --create-home --uid 1000 mlflow
USER mlflow
WORKDIR /home/mlflow
