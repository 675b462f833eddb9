"""Images for the viewer: values of full depth in units of the modality, pictures in grey, and evidence over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response

from resight.errors import ImageError
from resight.explain import PlacedEvidence
from resight.serving.access import Reader, TheParts
from resight.serving.overlays import coloured, png
from resight.serving.pages import Key
from resight.serving.pictures import Picture, Pictures, images_of
from resight.serving.reader_studies import may_see_answer
from resight.serving.schema import Instance, Study
from resight.serving.slice_evidence import SliceEvidence, in_order, probabilities_of
from resight.serving.views import Views

router = APIRouter(prefix="/studies/{key}/images/{number}", include_in_schema=False)


def pictures_of(request: Request) -> Pictures:
    """The reader of images of the application."""
    return request.app.state.pictures


ThePictures = Annotated[Pictures, Depends(pictures_of)]


def chosen_image(parts: TheParts, caller: Reader, key: Key, number: int) -> list[Instance]:
    """The instances of the image that a path names.

    Raises:
        HTTPException: 404 where there is no such study or image.
    """
    del caller  # asked for the check of the role
    with parts.service.store.read() as session:
        study = session.get(Study, key)
        images = [] if study is None else images_of(study)
    if not 0 <= number < len(images):
        raise HTTPException(404, "there is no such image")
    return images[number]


Chosen = Annotated[list[Instance], Depends(chosen_image)]


def views_of(request: Request) -> Views:
    """The notes of who looks at what, of the application."""
    return request.app.state.views


TheViews = Annotated[Views, Depends(views_of)]


def seen_image(caller: Reader, pictures: ThePictures, views: TheViews, chosen: Chosen, key: Key) -> Picture:
    """The image that a path names; that the caller sees it stands in the audit trail.

    Raises:
        HTTPException: 422 where it cannot be read.
    """
    with _refusals():
        found = pictures.picture(chosen)
    views.note(caller.actor, key, "image viewed", instance=chosen[0].id, instances=len(chosen))
    return found


Seen = Annotated[Picture, Depends(seen_image)]


@router.get("")
def facts(found: Seen) -> dict[str, Any]:
    """Size, units and window of an image."""
    return found.facts()


@router.get("/values")
def values(found: Seen, place: Annotated[int, Query(ge=0)] = 0) -> Response:
    """One slice, row by row: 16-bit little-endian grey, or 8-bit RGB."""
    _require_slice(found, place)
    return Response(found.values[place].tobytes(), media_type="application/octet-stream")


@router.get("/picture")
def picture(
    found: Seen,
    place: Annotated[int, Query(ge=0)] = 0,
    center: Annotated[float | None, Query(ge=-1e9, le=1e9)] = None,
    width: Annotated[float | None, Query(gt=0, le=1e9)] = None,
) -> Response:
    """One slice as PNG in a window: that of the header, or the one that is asked for."""
    _require_slice(found, place)
    grey = found.grey(place, found.center if center is None else center, found.width if width is None else width)
    return Response(png(grey[:, :, ::-1] if grey.shape[2] == 3 else grey), media_type="image/png")


def seen_evidence(
    parts: TheParts,
    caller: Reader,
    pictures: ThePictures,
    views: TheViews,
    chosen: Chosen,
    key: Key,
    model: Annotated[str, Query(max_length=64)],
    version: Annotated[str, Query(max_length=64)],
    label: Annotated[str, Query(max_length=200)],
) -> PlacedEvidence | SliceEvidence:
    """Where a model saw a label; that the caller sees it stands in the audit trail.

    Raises:
        HTTPException: 403 in an unaided reading, 404 where there is none, 422 where the image cannot be read.
    """
    with parts.service.store.read() as session:
        if not may_see_answer(session, caller.user_pk, key):
            raise HTTPException(403, "this case is part of a reader study and is read without the model now")
        slices = in_order(chosen)
        numbers = probabilities_of(session, slices, model, version, label)
    with _refusals():
        manifest = pictures.in_service(model, version, label).predictor.manifest
        if len(slices) > 1 and manifest.dims == 2:
            found = SliceEvidence(
                manifest.labels, numbers, lambda place: pictures.evidence([slices[place]], model, version, label)
            )
        else:
            found = pictures.evidence(chosen, model, version, label)
    shown = {"instance": chosen[0].id, "model": model, "version": version, "label": label}
    views.note(caller.actor, key, "evidence viewed", **shown)
    return found


SeenEvidence = Annotated[PlacedEvidence | SliceEvidence, Depends(seen_evidence)]


@router.get("/evidence")
def evidence(found: SeenEvidence, label: str, place: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Where a model saw a label on one slice: a transparent PNG that lies over it."""
    if place >= len(found.profile(label)):
        raise HTTPException(404, "there is no such slice")
    with _refusals():
        plane = found.plane(label, place)
    strongest = max(float(found.profile(label).max()), float(plane.max()))  # profiles look at fewer points
    if strongest <= 0:
        raise HTTPException(404, f"the map is empty: nothing in the image speaks for {label}")
    return Response(png(coloured(plane, strongest, found.labels.index(label))), media_type="image/png")


@router.get("/evidence/profile")
def profile(found: SeenEvidence, label: str) -> dict[str, Any]:
    """How strong the evidence for a label is on each slice, as a share of the strongest."""
    strength = found.profile(label)
    strongest = float(strength.max(initial=0.0))
    return {"shares": [round(float(one) / strongest, 3) if strongest > 0 else 0.0 for one in strength]}


@contextmanager
def _refusals() -> Iterator[None]:
    """What cannot be shown as an answer with its reason."""
    try:
        yield
    except LookupError as error:
        raise HTTPException(404, str(error.args[0])) from None
    except ImageError as error:
        raise HTTPException(422, error.found) from None


def _require_slice(found: Picture, place: int) -> None:
    if place >= len(found.values):
        raise HTTPException(404, "there is no such slice")
