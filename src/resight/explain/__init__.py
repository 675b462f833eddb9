"""Where the evidence lies, how far the answer can be trusted, and which training cases look alike."""

from resight.explain.attention import attention_gates
from resight.explain.base import EXPLAINERS, Explainer, ExplainerBuilder, Explanation, build_explainer
from resight.explain.evidence_files import write_evidence, write_volume_map
from resight.explain.faithfulness import PerturbationCurves, infidelity, perturbation_curves, road
from resight.explain.image_grid import explain_image, onto_image_grid
from resight.explain.localisation import LocalisationScores, box_mask, box_region, centre_map, localise, overlap
from resight.explain.nearest_cases import NearestCases, Neighbour, similar_cases
from resight.explain.overlay import overlay
from resight.explain.placed_evidence import PlacedEvidence, telling_slices
from resight.explain.references import References
from resight.explain.sanity import Cascade, max_sensitivity, randomisation_cascade, randomised
from resight.explain.score_files import score_files
from resight.explain.scores import MapScores, score_maps
from resight.explain.trust import TrustOptions, Verdict, judge

__all__ = [
    "EXPLAINERS",
    "Cascade",
    "Explainer",
    "ExplainerBuilder",
    "Explanation",
    "LocalisationScores",
    "MapScores",
    "NearestCases",
    "Neighbour",
    "PerturbationCurves",
    "PlacedEvidence",
    "References",
    "TrustOptions",
    "Verdict",
    "attention_gates",
    "box_mask",
    "box_region",
    "build_explainer",
    "centre_map",
    "explain_image",
    "infidelity",
    "judge",
    "localise",
    "max_sensitivity",
    "onto_image_grid",
    "overlap",
    "overlay",
    "perturbation_curves",
    "randomisation_cascade",
    "randomised",
    "road",
    "score_files",
    "score_maps",
    "similar_cases",
    "telling_slices",
    "write_evidence",
    "write_volume_map",
]
