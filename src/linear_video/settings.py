"""Settings of the Kedro project."""

from kedro.config import OmegaConfigLoader
from omegaconf.resolvers import oc

from linear_video.hooks import ParameterHooks, TrackingHooks

# kedro-mlflow's own hooks come in by their entry point and must run first, so that a run is active for ours.
HOOKS = (ParameterHooks(), TrackingHooks())

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment's file changes the parameters it names and leaves their siblings.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
    "custom_resolvers": {"oc.env": oc.env},
}
