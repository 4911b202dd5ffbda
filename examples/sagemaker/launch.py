r"""Start `processing.py` as an Amazon SageMaker Processing job; needs `boto3`, and nothing of this project.

Uploads the input folder and the script to S3, then creates the job. The same command with another --name continues the
run: it is kept under --s3, and what was bought is there.

    python launch.py --input-dir evaluation --s3 s3://my-bucket/moa/first \
        --image 123456789012.dkr.ecr.us-east-1.amazonaws.com/moa:latest \
        --role arn:aws:iam::123456789012:role/moa-processing --name moa-first \
        -- --mixture bedrock-current --baseline bedrock/us.anthropic.claude-opus-5-5 --budget-usd 20

What follows `--` goes to the script. `--dry-run` prints the request and sends nothing.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INPUT, CODE, OUTPUT = (f"/opt/ml/processing/{name}" for name in ("input", "code", "output"))
SCRIPT = "processing.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 if the job was created."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input-dir", type=Path, required=True, help="prompts, and maybe moa.yaml and mixture files")
    parser.add_argument(
        "--s3", required=True, metavar="s3://BUCKET/PREFIX", help="input, script and run are kept there"
    )
    parser.add_argument("--image", required=True, help="an image with mixture-of-agents[bedrock,eval]")
    parser.add_argument("--role", required=True, help="the job's role, by its ARN")
    parser.add_argument("--name", required=True, help="of the job; each may be used once")
    parser.add_argument("--region", default="us-east-1", help="of the job and of Bedrock")
    parser.add_argument("--instance-type", default="ml.t3.medium", help="the models run elsewhere: a small one will do")
    parser.add_argument("--hours", type=float, default=6.0, help="after which SageMaker stops the job")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("script", nargs="+", metavar="-- ARGUMENTS", help="arguments of the script")
    arguments = parser.parse_args(argv)
    wanted = request(arguments)
    if arguments.dry_run:
        sys.stdout.write(f"{json.dumps(wanted, indent=2)}\n")
        return 0
    # Imported here: a dry run needs no package.
    import boto3  # type: ignore[import-untyped]

    upload(arguments, boto3.client("s3", region_name=arguments.region))
    created = boto3.client("sagemaker", region_name=arguments.region).create_processing_job(**wanted)
    sys.stdout.write(f"{created['ProcessingJobArn']}\nthe run is kept under {address(arguments, 'output')}\n")
    return 0


def request(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the request that creates the job."""
    return {
        "ProcessingJobName": arguments.name,
        "RoleArn": arguments.role,
        "AppSpecification": {
            "ImageUri": arguments.image,
            "ContainerEntrypoint": ["python3", f"{CODE}/{SCRIPT}"],
            "ContainerArguments": ["--s3", address(arguments, "output"), *arguments.script],
        },
        "Environment": {"AWS_DEFAULT_REGION": arguments.region},
        "ProcessingInputs": [
            {
                "InputName": name,
                "S3Input": {
                    "S3Uri": address(arguments, name),
                    "LocalPath": path,
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for name, path in (("input", INPUT), ("code", CODE))
        ],
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": arguments.instance_type, "VolumeSizeInGB": 10}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": round(3600 * arguments.hours)},
    }


def address(arguments: argparse.Namespace, name: str) -> str:
    """Return where in S3 the job's input, code or output is."""
    return f"{arguments.s3.rstrip('/')}/{name}"


def upload(arguments: argparse.Namespace, client: Any) -> None:
    """Write the input folder and the script to S3."""
    bucket, _, prefix = arguments.s3.removeprefix("s3://").rstrip("/").partition("/")
    places = {
        path: f"input/{path.relative_to(arguments.input_dir).as_posix()}" for path in arguments.input_dir.rglob("*")
    }
    places[Path(__file__).with_name(SCRIPT)] = f"code/{SCRIPT}"
    for path, name in places.items():
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{name}" if prefix else name)


if __name__ == "__main__":
    sys.exit(main())
