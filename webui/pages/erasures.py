"""Erase: an administrator sees what an erasure would remove, by numbers only, and erases with a reason."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webui.access import identity
from webui.access.permissions import Permission, needs
from webui.actions import MAX_REASON, cleaned_text
from webui.dependencies import dependencies
from webui.ids import ids_of, ids_text
from webui.parameters import bad_request_on_value_error
from worker.erasing import Eraser
from worker.ledger import erasures, studies

pages = Blueprint("erasures", __name__)

_MAX_IMAGES = 500


@pages.get("/erase")
@needs(Permission.MANAGE)
def show() -> ResponseReturnValue:
    """Ask for the numbers of images; for the numbers in the URL, show what would go."""
    with bad_request_on_value_error():
        image_ids = ids_of("".join(request.args.get("images", "").split()), _MAX_IMAGES)
    if not image_ids:
        return render_template("erase.html", images=[], runs=[], numbers="")
    with dependencies().ledger.reading() as session:
        if request.args.get("patient"):
            image_ids = studies.with_same_patient(session, image_ids)
        try:
            images = erasures.plan(session, image_ids)
        except LookupError as error:
            abort(404, str(error.args[0]))
        runs = erasures.run_names(session, image_ids)
    return render_template("erase.html", images=images, runs=runs, numbers=ids_text(image_ids))


@pages.post("/erase")
@needs(Permission.MANAGE)
def erase() -> ResponseReturnValue:
    """Erase the images that the page showed."""
    eraser = Eraser(dependencies().ledger, dependencies().store)
    with bad_request_on_value_error():
        image_ids = ids_of(request.form.get("images", ""), _MAX_IMAGES)
        try:
            erased = eraser.erase(
                image_ids,
                who=identity.current().actor,
                why=cleaned_text(request.form.get("reason", ""), MAX_REASON),
                all_run_names=bool(request.form.get("run_names")),
            )
        except LookupError as error:
            abort(404, str(error.args[0]))
    flash(f"Erased images: {len(erased)}.")
    return redirect(url_for("erasures.show"), 303)
