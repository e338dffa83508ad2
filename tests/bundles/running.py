"""Running the bundle's configurations in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BUNDLES = Path(__file__).parents[2] / "bundles"
CONFIGS = BUNDLES / "medklip" / "configs"


def run_bundle(
    *configs: str, run_id: str = "run", workflow_type: str = "train", bundle: str = "medklip", **overrides: Any
) -> Any:
    """Run configurations of the bundle in this process, as ``python -m monai.bundle run`` would."""
    workflow = make_workflow(*configs, run_id=run_id, workflow_type=workflow_type, bundle=bundle, **overrides)
    workflow.run()
    workflow.finalize()
    return workflow


def make_workflow(
    *configs: str, run_id: str = "run", workflow_type: str = "train", bundle: str = "medklip", **overrides: Any
) -> Any:
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=[str(BUNDLES / bundle / "configs" / f"{name}.yaml") for name in configs],
        run_id=run_id,
        workflow_type=workflow_type,
        **overrides,
    )
    workflow.initialize()
    return workflow


def demo_overrides(folder: Path, **more: Any) -> dict[str, Any]:
    """Overrides that point the demo at a tiny store and keep it short."""
    return {
        "dataset_dir": str(folder / "store"),
        "output_dir": str(folder),
        "image_size": 64,
        "epochs": 2,
        "batch_size": 16,
        "log_every": 4,
        "min_positives": 1,
        **more,
    }
