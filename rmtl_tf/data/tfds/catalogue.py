"""What is known about the data sets: where they come from, which files, whose they are. Imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class About:
    """One data set.

    Attributes:
        description: what a record is.
        files: what must be in the manual directory; empty where nothing is downloaded.
        licence: of the raw files, and their owner.
        how: how a person obtains them.
        checksums: file -> sha256, as far as they are known.
        label_times: labels of which the records say when they came to be.
    """

    description: str
    homepage: str
    licence: str
    citation: str
    files: tuple[str, ...] = ()
    how: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)
    label_times: tuple[str, ...] = ()

    def instructions(self) -> str:
        """What TFDS says where the files are missing."""
        return f"{self.how} Put {', '.join(self.files)} into the manual directory. Licence: {self.licence}."


CATALOGUE: dict[str, About] = {
    "deskdrop": About(
        description="Sessions of employees on a platform for articles: one record an article viewed.",
        homepage="https://www.kaggle.com/datasets/gspmoreira/articles-sharing-reading-from-cit-deskdrop",
        licence="ODbL, CI&T",
        citation="Moreira, G.: Articles sharing and reading from CI&T DeskDrop, 2017.",
        files=("users_interactions.csv",),
        label_times=("engage", "save"),
        how="Download the archive from the home page (it needs an account there) and unpack it.",
    ),
    "retailrocket": About(
        description="Sessions of visitors of a shop: one record an item touched, as it was at that time.",
        homepage="https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset",
        licence="CC BY-NC-SA 4.0, Retailrocket",
        citation="Retailrocket recommender system dataset, 2015.",
        files=(
            "events.csv",
            "item_properties_part1.csv",
            "item_properties_part2.csv",
            "category_tree.csv",
        ),
        how="Download the archive from the home page (it needs an account there) and unpack it.",
        label_times=("click", "pay"),
        checksums={"category_tree.csv": "94e865eb0a3d48cbbfe3b79079018dd92509315c88f5fd8d00d0b4b5af434f5b"},
    ),
    "kuairand": About(
        description="Sessions of users of a short video app: one record a video shown.",
        homepage="https://kuairand.com",
        licence="CC BY-SA 4.0, Kuaishou and the authors of KuaiRand",
        citation=(
            "Gao, C. et al.: KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed "
            "Videos. CIKM 2022."
        ),
        files=("log_standard_*.csv", "log_random_*.csv", "user_features_*.csv", "video_features_basic_*.csv"),
        how="Download KuaiRand-Pure, -1K or -27K from the home page and take the files of its folder data.",
    ),
    "simulator": About(
        description="Sessions of a simulated shop with known probabilities: one record an item shown.",
        homepage="",
        licence="Apache-2.0",
        citation="",
    ),
}
