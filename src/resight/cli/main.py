"""`resight`: the list of verbs, loaded one at a time, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, UnusedCliTokensError

from resight.errors import OutputError, ResightError

_VERBS = {
    "doctor": "Say what this machine can do and what is missing.",
    "list": "Show every backbone, head, loss and whatever else has a name, with options.",
    "plan": "Look at a cohort and this machine; write an experiment file with reasons.",
    "train": "Run an experiment file: split, train, calibrate, evaluate, bundle, report.",
    "pretrain": "Teach a backbone on images alone, without labels, to start from.",
    "evaluate": "Judge a predictions table, whoever made it.",
    "compare": "Test two predictions tables of the same images against each other.",
    "mitigate": "Make groups alike by thresholds or calibration, or judge a model that tried.",
    "probe": "Look for attributes that features or scores know.",
    "audit": "Compare groups of patients in every metric, with intervals and corrected tests.",
    "defer": "Decide which images the model settles and which people read, and judge the team.",
    "worklist": "Simulate a reading room with and without sorting by the model's answer.",
    "fewshot": "Judge a bundle's features by a handful of labelled images.",
    "zeroshot": "Judge labels that were never seen by their descriptions.",
    "predict": "Apply a bundle to images and write the predictions table.",
    "export": "Write a bundle's network for ONNX Runtime or OpenVINO and measure what that changed.",
    "explain": "Write where in images the evidence for the labels lies.",
    "evidence": "Gather what an auditor asks for from a finished run, and say what is missing.",
    "lock": "Sign a bundle or an evidence pack, so that no change goes unnoticed.",
    "verify": "Recompute checksums, signatures and figures of a bundle, a run or an evidence pack.",
    "monitor": "Compare incoming predictions with what a model was judged on.",
    "reproduce": "Run a cited study and put the published figures beside ours.",
    "serve": "Take studies from the hospital network, predict, and send the results back.",
    "demo": "Learn planted findings on phantom images, offline, and write a report.",
}
_DATA_VERBS = {
    "inspect": "Count images, patients, labels, sizes and what is missing.",
    "import": "Write a cohort as the plain table that Resight reads.",
    "split": "Split by patient, stratified, and write the table.",
    "leakcheck": "Find shared patients, duplicates, and metadata that give the label away.",
    "datasheet": "Write the datasheet of a cohort.",
    "deidentify": "Take the identity out of DICOM files; pixels are not changed.",
    "phantom": "Draw a phantom cohort with planted truth.",
}
_CLAIMS_VERBS = {"check": "Can the figures that a publication reports be true together?"}
_READERSTUDY_VERBS = {
    "design": "Write who reads what, when, in which arm and order.",
    "analyse": "Compare the arms of a reader study for other readers and other cases.",
}
_ACCOUNTS_VERBS = {
    "add": "Create an account for a person who signs in.",
    "change": "Change role or password of an account, or disable it.",
    "list": "Show all accounts.",
}
_TOKENS_VERBS = {"add": "Create a token for a program.", "revoke": "Make a token useless."}
_AUDIT_LOG_VERBS = {"verify": "Find entries and rows that were changed, removed or put elsewhere."}
_FEDERATE_VERBS = {
    "simulate": "Several sites in one process, beside pooled training and each site alone.",
    "provision": "Make certificates, keys and start-up kits for a federation.",
    "server": "Run the server of a federation: no images, only what sites send.",
    "client": "Take part in a federation as a site; run it again after any interruption.",
    "ledger": "What has left a site: what, when, how much, to whom, and how it was protected.",
}
_WEIGHTS_VERBS = {
    "fetch": "Fetch a file of published weights from the network.",
    "import": "Turn a file of published weights into safetensors for a backbone.",
}
_GROUPS = {
    "data": ("Look at, import, split and check images and labels.", _DATA_VERBS),
    "claims": ("Check what publications report.", _CLAIMS_VERBS),
    "accounts": ("Say who may sign in to the service.", _ACCOUNTS_VERBS),
    "tokens": ("Say which programs may call the service.", _TOKENS_VERBS),
    "audit-log": ("Check the audit trail of the service.", _AUDIT_LOG_VERBS),
    "readerstudy": ("Plan and analyse studies with readers.", _READERSTUDY_VERBS),
    "federate": ("Learn at several sites without pooling images.", _FEDERATE_VERBS),
    "weights": ("Start from published weights.", _WEIGHTS_VERBS),
}

_RESUMED = ("train", "pretrain", "reproduce", "federate")
_GO_ON = "; what was finished is kept. Continue with --resume."
_INTERRUPTED = 130
_USAGE = 2


def build_app() -> App:
    """The application with all verbs; none of their modules is imported yet."""
    app = App(
        name="resight",
        help="From a folder of medical images to a ResNet classifier that can be trusted and deployed.",
        version=_version,
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # main says how to go on
    )
    for verb, summary in _VERBS.items():
        app.command(f"resight.cli.{_module(verb)}:{_module(verb)}", name=verb, help=summary)
    for name, (summary, verbs) in _GROUPS.items():
        group = App(name=name, help=summary)
        for verb, meaning in verbs.items():
            group.command(f"resight.cli.{_module(name)}:{_module(verb)}", name=verb, help=meaning)
        app.command(group)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: command line without the program's name; that of the process if not given.

    Returns:
        The exit code: 0, the class code of a ResightError, 2 for wrong usage, 130 when interrupted.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waiting threads of torch sleep: cores may be shared
    app = build_app()
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
    except ResightError as error:
        return _complain(f"{type(error).__name__}: {error}", error.exit_code)
    except CycloptsError as error:
        return _complain(f"usage: {_usage(error)}", _USAGE)
    except KeyboardInterrupt:
        words = sys.argv[1:] if arguments is None else list(arguments)
        resumed = bool(words) and words[0] in _RESUMED
        return _complain(f"interrupted{_GO_ON if resumed else ''}", _INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"OutputError: {place}{error.strerror or error}", OutputError.exit_code)
    return result if isinstance(result, int) else 0


def _complain(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


def _usage(error: CycloptsError) -> str:
    """What is wrong with the command line, and where to read how it is meant."""
    line = " ".join(str(error).split())
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        line = f"nothing is expected at {error.unused_tokens[0]!r}."
    if (
        type(error) is MissingArgumentError
        and error.argument is not None
        and not (error.keyword or error.argument.tokens)
    ):
        name = error.argument.name
        given_by_place = error.argument.field_info.is_positional
        strange = [f", and {token} is unknown" for token in error.unused_tokens or () if token.startswith("-")]
        line = f"{name.lstrip('-').upper() if given_by_place else name} is missing{''.join(strange[:1])}."
    return f"{line} See: {' '.join(('resight', *(error.command_chain or ()), '--help'))}"


def _version() -> str:
    from importlib.metadata import version

    return version("resight")


def _module(verb: str) -> str:
    return {"import": "import_", "list": "list_"}.get(verb, verb).replace("-", "_")


if __name__ == "__main__":
    sys.exit(main())
