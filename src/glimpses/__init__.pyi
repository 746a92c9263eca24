# Types of the public names; __init__.py imports them on first use.
from glimpses.evaluation import Scores as Scores
from glimpses.evaluation import evaluate as evaluate
from glimpses.features import extract as extract
from glimpses.inference import Prediction as Prediction
from glimpses.inference import Recogniser as Recogniser
from glimpses.training import train as train
from glimpses.utils.errors import GlimpsesError as GlimpsesError

__all__ = ["GlimpsesError", "Prediction", "Recogniser", "Scores", "evaluate", "extract", "train"]
