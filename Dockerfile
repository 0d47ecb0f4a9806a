# docker build -t salmu_jax . && docker run salmu_jax python main.py --config=configs/smoke.py --workdir=/tmp/smoke
FROM python:3.12-slim
WORKDIR /salmu_jax
COPY requirements*.txt ./
# On a TPU: --build-arg REQUIREMENTS="-r requirements-tpu.txt -r requirements-cloud.txt".
ARG REQUIREMENTS="-r requirements.txt"
RUN pip install --no-cache-dir $REQUIREMENTS
COPY . .
CMD ["python", "main.py", "--help"]
