"""Functions that run in a separate process (see ``isolated``): they may import anything and return JSON values."""

from __future__ import annotations

import platform
from importlib import import_module
from typing import Any

import medvlp_toolkit as mv


def load_plugin(kind: str, name: str) -> str:
    """Import a plugin; its dotted name."""
    plugin = mv.registries[kind][name]
    return f"{getattr(plugin, '__module__', '?')}.{getattr(plugin, '__qualname__', type(plugin).__name__)}"


def import_modules(*names: str) -> dict[str, str]:
    """Module name -> '' if it can be imported, else the reason. In one process, so that incompatible sets fail."""
    outcome = {}
    for name in names:
        try:
            import_module(name)
            outcome[name] = ""
        except Exception as error:
            outcome[name] = f"{type(error).__name__}: {error}"
    return outcome


def accelerator() -> dict[str, Any]:
    """Devices available to torch, and whether each supports bfloat16 natively."""
    import torch

    devices = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        devices.append(
            {
                "device": f"cuda:{number}",
                "name": properties.name,
                "memory_gib": round(properties.total_memory / 2**30, 1),
                "bfloat16": properties.major >= 8 or torch.version.hip is not None,
            }
        )
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    devices.append(
        {
            "device": "cpu",
            "name": str(capabilities.get("cpu_name") or platform.processor() or platform.machine()),
            "threads": torch.get_num_threads(),
            "bfloat16": any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16")),
        }
    )
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "devices": devices}


def dicom_decoders() -> dict[str, list[str]]:
    """Compressed transfer syntax -> the decoders that read a sample of it (none: such files cannot be read)."""
    from medvlp_toolkit.images.syntax_samples import working_decoders

    return working_decoders()
