"""What pyproject.toml cannot say: the models lie beside the package in the source tree, inside it in a wheel."""

from pathlib import Path

from setuptools import find_packages, setup

STORE = "InnerEarAILib.models"
models = sorted(card.parent.name for card in Path("models").glob("*/model.json"))

setup(
    packages=[*find_packages("InnerEarAI", include=["InnerEarAILib*"]), STORE, *(f"{STORE}.{name}" for name in models)],
    package_dir={"": "InnerEarAI", STORE: "models"},
    package_data={
        "InnerEarAILib": ["training/configurations/*.toml"],
        **{f"{STORE}.{name}": ["model.json", "*.safetensors", "MODEL_CARD.md"] for name in models},
    },
)
