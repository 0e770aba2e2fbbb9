"""What a run belongs to; apart from the tracker, because MLflow takes most of a second to import."""

from dataclasses import dataclass

from pipeline.wiring.runs import git_commit

GIT_COMMIT = "mlflow.source.git.commit"  # MLflow's own tag


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a run belongs to; its tags are how it is found again."""

    dataset: str  # MLflow experiment: a data set, or "reports"
    stage: str
    asset: str  # asset key as Dagster writes it
    dagster_run: str
    code_version: str
    preset: str
    seed: int
    method: str = ""  # key of METHODS; empty where nothing is learned
    entry: str = ""  # run of the benchmark or the ablations
    refresh: str = ""  # shared by the Dagster runs of one refresh, which are one run of the lane

    def tags(self) -> dict[str, str]:
        """MLflow tags of the stage's run."""
        also = {"method": self.method, "entry": self.entry, "refresh": self.refresh}
        return {
            "dataset": self.dataset,
            "stage": self.stage,
            "preset": self.preset,
            "seed": str(self.seed),
            "dagster.run_id": self.dagster_run,
            "dagster.asset_key": self.asset,
            "code_version": self.code_version,
            GIT_COMMIT: git_commit(),
        } | {name: value for name, value in also.items() if value}
