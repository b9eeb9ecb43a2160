"""The data sets by name, known without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dlcluster.data.kinds import Format

FILES = Path(__file__).parent / "files"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_FASHION_MNIST = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"


@dataclass(frozen=True)
class Download:
    """One file that is fetched when it is first wanted.

    Attributes:
        url: Where from; the last part is what it is called here.
        sha256: What it must hash to.
    """

    url: str
    sha256: str


@dataclass(frozen=True)
class DataEntry:
    """One data set a job file can name.

    Attributes:
        name: As written in ``data.name``.
        file: Where it lies, as part of this package; None where it is downloaded.
        format: What the files are.
        task: What it is usually used for.
        summary: One line for ``dlcluster datasets``.
        source: Where it comes from, and under which terms.
        downloads: Its files, where it is no part of this package.
    """

    name: str
    file: Path | None
    format: Format
    task: str
    summary: str
    source: str
    downloads: tuple[Download, ...] = ()


DATASETS: Mapping[str, DataEntry] = {
    entry.name: entry
    for entry in (
        DataEntry(
            "co2",
            FILES / "co2.csv",
            "csv",
            "forecast",
            "Weekly atmospheric CO2 at Mauna Loa 1958-2001, 2,284 weeks, 59 of them missing (ppmv)",
            "Keeling & Whorf 2004, Scripps CO2 program, as kept in statsmodels; public domain",
        ),
        DataEntry(
            "digits",
            FILES / "digits.npz",
            "npz",
            "classification",
            "1,797 handwritten digits, 8 x 8 pixels from 0 to 16",
            "Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI, test part), as kept in "
            "scikit-learn; CC BY 4.0",
        ),
        DataEntry(
            "fashion_mnist",
            None,
            "idx",
            "classification",
            "70,000 pieces of clothing of 10 kinds, 28 x 28, 10,000 of them the test split; a download of 31 MB",
            "Xiao, Rasul & Vollgraf 2017, Fashion-MNIST (Zalando); MIT",
            (
                Download(
                    f"{_FASHION_MNIST}/train-images-idx3-ubyte.gz",
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                Download(
                    f"{_FASHION_MNIST}/train-labels-idx1-ubyte.gz",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                Download(
                    f"{_FASHION_MNIST}/t10k-images-idx3-ubyte.gz",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                Download(
                    f"{_FASHION_MNIST}/t10k-labels-idx1-ubyte.gz",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
        ),
        DataEntry(
            "mnist",
            None,
            "idx",
            "classification",
            "70,000 handwritten digits, 28 x 28, 10,000 of them the test split; a download of 12 MB",
            "LeCun, Bottou, Bengio & Haffner 1998, Proc. IEEE 86(11); CC BY-SA 3.0",
            (
                Download(
                    f"{_MNIST}/train-images-idx3-ubyte.gz",
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                Download(
                    f"{_MNIST}/train-labels-idx1-ubyte.gz",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                Download(
                    f"{_MNIST}/t10k-images-idx3-ubyte.gz",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                Download(
                    f"{_MNIST}/t10k-labels-idx1-ubyte.gz",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ),
        ),
    )
}
