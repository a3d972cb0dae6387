"""The ledger's tables. Times are UTC and timezone-aware; probabilities are in [0, 1]."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Computed,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from worker.card.band import clear_below, is_far, is_never_clear
from worker.card.lung_edges import are_cut_off
from worker.ledger.states import ImageState

# Left, top, right and bottom of a part of an image: left <= x < right and top <= y < bottom.
Corners = tuple[int, int, int, int]

# SQLite assigns ids by itself only in a column of exactly the type INTEGER.
KEY = BigInteger().with_variant(Integer, "sqlite")

# The salt of a row, for the seals of what a person typed into it: see `worker.ledger.seals`. It is null in rows of
# version 0.2.0 and earlier, and in rows whose text was erased.
SALT = String(32)

# An image has a reason exactly while it is rejected or quarantined.
HAS_REASON = text("reason_code IS NOT NULL")
UNSEEN = text("seen_at IS NULL")
SCORED = text("verdict IS NOT NULL")
WITHOUT_VERDICT = text("verdict IS NULL")
STATED = text("accession IS NOT NULL")
SECOND_READING = text("stage = 'second'")
# Most events have these kinds or this actor. The others are found through small indexes.
RARE_KIND = text("kind NOT IN ('received', 'scored')")
NOT_THE_PROGRAM = text("actor <> 'nightread'")


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time, also on SQLite, which stores no timezone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC. Raises ValueError for a naive time, whose timezone would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a timezone cannot be recorded")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return every time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The declarative base; constraints have fixed names so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcTime, dict[str, Any]: JSON}


class Run(Base):
    """The files of one night, noon to noon, or of an import with a name of its own."""

    __tablename__ = "run"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    salt: Mapped[str | None] = mapped_column(SALT)
    started_at: Mapped[datetime]


class Image(Base):
    """One distinct image, identified by the SHA-256 of its bytes, in exactly one state."""

    __tablename__ = "image"
    __table_args__ = (
        # One range for each reading state and verdict, in the order of the queue: of all runs, and of one run.
        Index("ix_image_queue", "review_state", "verdict", "queue_rank", "id"),
        Index("ix_image_queue_of_run", "run_id", "review_state", "verdict", "queue_rank", "id"),
        # The same ranges by the time of arrival, and those of images without a score.
        Index(
            "ix_image_queue_by_time",
            *("review_state", "verdict", "received_at", "id"),
            sqlite_where=SCORED,
            postgresql_where=SCORED,
        ),
        Index(
            "ix_image_queue_by_time_of_run",
            *("run_id", "review_state", "verdict", "received_at", "id"),
            sqlite_where=SCORED,
            postgresql_where=SCORED,
        ),
        Index(
            "ix_image_without_score",
            *("state", "received_at", "id"),
            sqlite_where=WITHOUT_VERDICT,
            postgresql_where=WITHOUT_VERDICT,
        ),
        Index(
            "ix_image_without_score_of_run",
            *("run_id", "state", "received_at", "id"),
            sqlite_where=WITHOUT_VERDICT,
            postgresql_where=WITHOUT_VERDICT,
        ),
        Index("ix_image_waiting", "state", "lane", "id"),
        Index("ix_image_scored_in_run", "run_id", "scored_at"),
        Index("ix_image_slow_in_run", "run_id", "compute_ms"),
        Index("ix_image_turned_away", "id", sqlite_where=HAS_REASON, postgresql_where=HAS_REASON),
        Index(
            "ix_image_turned_away_of_run",
            "run_id",
            "id",
            sqlite_where=HAS_REASON,
            postgresql_where=HAS_REASON,
        ),
    )

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    format: Mapped[str | None] = mapped_column(String(20))
    bytes: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int | None]
    height: Mapped[int | None]
    phantom: Mapped[bool] = mapped_column(Boolean, default=False)
    original_name: Mapped[str] = mapped_column(Text)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    lane: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    received_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None]
    queued_at: Mapped[datetime | None]
    reason_code: Mapped[str | None] = mapped_column(String(40))
    reason: Mapped[str | None] = mapped_column(Text)
    retry_reason: Mapped[str | None] = mapped_column(Text)
    salt: Mapped[str | None] = mapped_column(SALT)
    # A copy of what pages need from the current prediction, so that each query needs only one index.
    verdict: Mapped[str | None] = mapped_column(String(20))
    p_pneumonia: Mapped[float | None]
    population: Mapped[str | None] = mapped_column(String(10))
    distance: Mapped[float | None]
    scored_at: Mapped[datetime | None]
    compute_ms: Mapped[float | None]
    review_state: Mapped[str | None] = mapped_column(String(20))
    # The image was drawn to be read without its score, and stands at this place among the scores. See `worker.ledger.draws`.
    drawn_rank: Mapped[float | None]
    queue_rank: Mapped[float | None] = mapped_column(Computed("coalesce(drawn_rank, p_pneumonia)"))
    claimed_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    claimed_until: Mapped[datetime | None]
    # The operating point that the verdict follows since a re-triage; null: that of the prediction. See `worker.ledger.retriage`.
    operating_point_id: Mapped[int | None] = mapped_column(BigInteger)
    # The group whose point that is (see `worker.ledger.point_groups`); null: the general one.
    point_group: Mapped[str | None] = mapped_column(String(40))
    # Null: the image store has the bytes, or may have them again.
    bytes_removed_at: Mapped[datetime | None]

    run: Mapped[Run] = relationship()
    claimed_by: Mapped[User | None] = relationship()
    predictions: Mapped[list[Prediction]] = relationship(
        back_populates="image", order_by="Prediction.id.desc()"
    )
    reviews: Mapped[list[Review]] = relationship(order_by="Review.id")
    receipts: Mapped[list[Receipt]] = relationship(back_populates="image", order_by="Receipt.id")
    rescores: Mapped[list[Rescore]] = relationship(back_populates="image", order_by="Rescore.id")
    erasure: Mapped[Erasure | None] = relationship()
    retriaged_by: Mapped[OperatingPointRow | None] = relationship(
        primaryjoin="foreign(Image.operating_point_id) == OperatingPointRow.id", viewonly=True
    )
    instance: Mapped[Instance | None] = relationship(back_populates="image")

    @property
    def age_years(self) -> float | None:
        """The age of the patient; None: not known. `instance` and its study must be loaded."""
        study = self.instance.study if self.instance else None
        return study.age_years if study else None

    @property
    def is_far(self) -> bool:
        """Whether the image is far from the training data of the model that scored it: beyond the limit."""
        return is_far(self.distance)

    @property
    def prediction(self) -> Prediction | None:
        """The prediction in force, of the loaded `predictions`; None unless the image is scored."""
        return self.predictions[0] if self.state == ImageState.SCORED and self.predictions else None

    @property
    def operating_point(self) -> OperatingPointRow | None:
        """The operating point of the verdict; None without one. `predictions` and `retriaged_by` must be loaded."""
        prediction = self.prediction
        return self.retriaged_by or (prediction.operating_point if prediction else None)

    @property
    def group_of_point(self) -> str | None:
        """The group whose point the verdict follows; None: the general point. `predictions` must be loaded."""
        prediction = self.prediction
        if self.operating_point_id is not None:
            return self.point_group
        return prediction.point_group if prediction else None

    @property
    def clear_below(self) -> float:
        """The score below which the image is clear; 0 without a verdict. What `operating_point` needs must be loaded."""
        point, prediction = self.operating_point, self.prediction
        if point is None or prediction is None:
            return 0.0
        return prediction.clear_below_at(point)


class Study(Base):
    """Whose images belong together, and how old the patient was: see `worker.imagefile.identity`.

    A file without a study UID has a study of its own. A row is never changed, only erased: objects of one study that
    contradict each other make more than one row. Everything but the time is null if the study was erased.
    """

    __tablename__ = "study"
    __table_args__ = (Index("ix_study_accession", "accession", sqlite_where=STATED, postgresql_where=STATED),)

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    study_uid: Mapped[str | None] = mapped_column(String(64), index=True)
    accession: Mapped[str | None] = mapped_column(String(16))
    patient_key: Mapped[str | None] = mapped_column(String(64), index=True)
    age_years: Mapped[float | None]
    age_source: Mapped[str | None] = mapped_column(String(20))
    sex: Mapped[str | None] = mapped_column(String(1))
    salt: Mapped[str | None] = mapped_column(SALT)
    added_at: Mapped[datetime]


class Instance(Base):
    """How an image was taken, and to which study it belongs. Everything is null if the image was erased."""

    __tablename__ = "instance"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), unique=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id"), index=True)
    series_uid: Mapped[str | None] = mapped_column(String(64))
    instance_uid: Mapped[str | None] = mapped_column(String(64))
    view: Mapped[str | None] = mapped_column(String(20))
    laterality: Mapped[str | None] = mapped_column(String(1))
    manufacturer: Mapped[str | None] = mapped_column(String(64))
    station_class: Mapped[str | None] = mapped_column(String(20))
    salt: Mapped[str | None] = mapped_column(SALT)

    image: Mapped[Image] = relationship(back_populates="instance")
    study: Mapped[Study | None] = relationship()


class Receipt(Base):
    """One arrival of a file and its outcome. The key `arrival` prevents a second receipt for it."""

    __tablename__ = "receipt"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    source: Mapped[str] = mapped_column(String(20))
    original_name: Mapped[str] = mapped_column(Text)
    arrival: Mapped[str | None] = mapped_column(String(200), unique=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    outcome: Mapped[str] = mapped_column(String(20))
    reason_code: Mapped[str | None] = mapped_column(String(40))
    reason: Mapped[str | None] = mapped_column(Text)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    received_at: Mapped[datetime]
    received_by: Mapped[str | None] = mapped_column(String(200))
    salt: Mapped[str | None] = mapped_column(SALT)

    image: Mapped[Image] = relationship(back_populates="receipts")
    run: Mapped[Run] = relationship()


class Model(Base):
    """A model bundle that a worker has registered, identified by the SHA-256 of its network file."""

    __tablename__ = "model"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(50))
    card: Mapped[dict[str, Any]]
    active_since: Mapped[datetime]


class OperatingPointRow(Base):
    """An operating point as it was used, with threshold and band; a change adds a row."""

    __tablename__ = "operating_point"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), index=True)
    name: Mapped[str] = mapped_column(String(50))
    threshold: Mapped[float]
    band_low: Mapped[float]
    band_high: Mapped[float]
    set_by: Mapped[str] = mapped_column(String(200))
    why: Mapped[str] = mapped_column(Text)
    set_at: Mapped[datetime]


class Prediction(Base):
    """The result of one model for one image, with everything that is needed to compute it again.

    `activation` is the activation map: `map_height` x `map_width` bytes, row by row; empty if the image was erased.
    The crop columns have the film; they are null if it fills the image. The lungs columns have the part of the film that
    the network saw; they are null if that was all of it. `population` is a value of
    `worker.card.population.Population`; null if nobody was checked: by an earlier version, for a model whose card
    states no ages, or for a canary.
    `distance` is how far the image is from the training data, in units of the model's limit (see
    `worker.inference.distance`); null: the model does not say.
    `point_group` is the group whose operating point applied (see `worker.ledger.point_groups`); null: the general one.
    `greyscale` says how the grey values of a DICOM object were made (see `worker.dicom.picture.GreyFacts`); null: the file
    holds the grey values themselves.
    """

    __tablename__ = "prediction"
    __table_args__ = (
        UniqueConstraint("image_id", "model_id"),
        Index("ix_prediction_of_model", "model_id", "id"),
    )

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    operating_point_id: Mapped[int] = mapped_column(ForeignKey("operating_point.id"))
    p_normal: Mapped[float]
    p_bacterial: Mapped[float]
    p_viral: Mapped[float]
    p_pneumonia: Mapped[float]
    confidence: Mapped[float]
    verdict: Mapped[str] = mapped_column(String(20))
    activation: Mapped[bytes] = mapped_column(LargeBinary)
    map_height: Mapped[int]
    map_width: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime] = mapped_column(UtcTime, index=True)
    compute_ms: Mapped[float]
    worker: Mapped[str] = mapped_column(String(200))
    versions: Mapped[dict[str, Any]]
    crop_left: Mapped[int | None]
    crop_top: Mapped[int | None]
    crop_right: Mapped[int | None]
    crop_bottom: Mapped[int | None]
    lungs_left: Mapped[int | None]
    lungs_top: Mapped[int | None]
    lungs_right: Mapped[int | None]
    lungs_bottom: Mapped[int | None]
    population: Mapped[str | None] = mapped_column(String(10))
    distance: Mapped[float | None]
    point_group: Mapped[str | None] = mapped_column(String(40))
    greyscale: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    image: Mapped[Image] = relationship(back_populates="predictions")
    model: Mapped[Model] = relationship()
    operating_point: Mapped[OperatingPointRow] = relationship()

    @property
    def crop(self) -> Corners | None:
        """The film, in pixels of the upright original; None: it fills the image."""
        return _corners(self.crop_left, self.crop_top, self.crop_right, self.crop_bottom)

    @property
    def lungs(self) -> Corners | None:
        """The part around the lungs that the network saw, in pixels of the upright original; None: the whole film."""
        return _corners(self.lungs_left, self.lungs_top, self.lungs_right, self.lungs_bottom)

    @property
    def seen(self) -> Corners | None:
        """The part of the image that the network saw: the lungs or the film; None: all of it."""
        return self.lungs or self.crop

    @property
    def cuts_lungs_off(self) -> bool:
        """Whether part of the lungs may lie beyond the film. `image` must be loaded.

        The ledger has width and height swapped if the Exif orientation turns an image by a quarter: then this misses it.
        """
        if self.lungs is None:
            return False
        return are_cut_off(self.lungs, self.crop or (0, 0, self.image.width or 0, self.image.height or 0))

    @property
    def clear_below(self) -> float:
        """The score below which the image was clear when it was scored. `operating_point` must be loaded."""
        return self.clear_below_at(self.operating_point)

    def clear_below_at(self, point: OperatingPointRow) -> float:
        """Return the score below which the image is clear at an operating point."""
        never_clear = is_never_clear(self.population, self.distance)
        return clear_below(point.band_low, cropped=self.crop is not None, never_clear=never_clear)

    @property
    def is_far(self) -> bool:
        """Whether the image is far from the training data: beyond the limit."""
        return is_far(self.distance)


class ShadowPrediction(Base):
    """What a candidate said about an image in the background. Nothing but the comparison of models reads it.

    `outcome` is `scored` or the code of a rejection, `unchecked` if the image ended its process each time. The scores are
    null unless it is `scored`. `cropped`: the film was cut out of a margin or a page. `population` and
    `distance` are as in `Prediction`.
    """

    __tablename__ = "shadow_prediction"
    __table_args__ = (UniqueConstraint("model_id", "image_id"),)

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    outcome: Mapped[str] = mapped_column(String(40))
    p_normal: Mapped[float | None]
    p_bacterial: Mapped[float | None]
    p_viral: Mapped[float | None]
    p_pneumonia: Mapped[float | None]
    cropped: Mapped[bool]
    population: Mapped[str | None] = mapped_column(String(10))
    distance: Mapped[float | None]
    versions: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class ShadowWork(Base):
    """Which worker scores images with a candidate: nobody else may until `busy_until`.

    `attempts` counts that worker and the workers that died before with the same images.
    """

    __tablename__ = "shadow_work"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), primary_key=True)
    attempts: Mapped[int]
    busy_until: Mapped[datetime | None]


class ReceiptTally(Base):
    """The number of receipts with each outcome in a run. Triggers keep the tallies: see `tallies`."""

    __tablename__ = "receipt_tally"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(20), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)


class ImageTally(Base):
    """The number of images of each kind in a run; empty text stands for null.

    `distance` is `near` or `far`, or empty for an image of which no model said how far it is from the training data.
    """

    __tablename__ = "image_tally"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(20), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(20), primary_key=True)
    review_state: Mapped[str] = mapped_column(String(20), primary_key=True)
    population: Mapped[str] = mapped_column(String(10), primary_key=True)
    distance: Mapped[str] = mapped_column(String(10), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)


class PredictionTally(Base):
    """The number of images that a model has scored."""

    __tablename__ = "prediction_tally"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)


class User(Base):
    """A person. `roles` are names of `worker.ledger.roles.Role`, sorted and separated by commas."""

    __tablename__ = "user"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    salt: Mapped[str | None] = mapped_column(SALT)
    created_at: Mapped[datetime]
    roles: Mapped[str] = mapped_column(String(200), server_default="reader")
    disabled_at: Mapped[datetime | None]
    passphrase_hash: Mapped[str | None] = mapped_column(String(200))


class Totp(Base):
    """An authenticator app of a person. `secret` is encrypted. No code of `last_step` or earlier is accepted again."""

    __tablename__ = "totp"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    secret: Mapped[str | None] = mapped_column(String(400))
    last_step: Mapped[int] = mapped_column(BigInteger)
    added_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """A code that takes the place of an authenticator app once. Its hash, not the code."""

    __tablename__ = "recovery_code"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    totp_id: Mapped[int] = mapped_column(ForeignKey("totp.id"), index=True)
    code_sha256: Mapped[str] = mapped_column(String(64))
    used_at: Mapped[datetime | None]


class Passkey(Base):
    """A passkey of a person. `credential_id` is in base64url."""

    __tablename__ = "passkey"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    salt: Mapped[str | None] = mapped_column(SALT)
    credential_id: Mapped[str] = mapped_column(String(1400), unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int] = mapped_column(BigInteger)
    added_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A browser in which a person signed in. Its cookie holds the key, and the ledger only the key's SHA-256."""

    __tablename__ = "session"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    key_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    method: Mapped[str] = mapped_column(String(20))
    address: Mapped[str] = mapped_column(String(45))
    browser: Mapped[str] = mapped_column(String(200))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()


class SignInLink(Base):
    """A link that signs a person in once. The ledger holds only the SHA-256 of its key."""

    __tablename__ = "sign_in_link"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    key_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    made_at: Mapped[datetime]
    valid_until: Mapped[datetime]
    used_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()


class ProviderIdentity(Base):
    """A person's key at the hospital's sign-in service. It is never compared with names or e-mail addresses."""

    __tablename__ = "identity"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), unique=True)
    issuer: Mapped[str] = mapped_column(String(500))
    subject: Mapped[str] = mapped_column(String(255))
    salt: Mapped[str | None] = mapped_column(SALT)
    added_at: Mapped[datetime]


class Review(Base):
    """A reading of an image, a change of one, or an undo. No row is ever changed, but its texts can be erased.

    `supersedes_id` is the reading that was in force before this one; undo puts it in force again. `prediction_id` is null
    if the image had no score. `score_shown`, `map_shown` and `open_ms` are null if nobody knows: see
    `worker.ledger.findings.Seen`. `stage` is a value of `worker.ledger.findings.Stage`, and `leads_to` the reading state
    of the image while this reading is in force; earlier versions left both null. `protocol_id` is an id of a `SiteSetting`,
    null for the default protocol.
    """

    __tablename__ = "review"
    __table_args__ = (
        # The last reading of a reader is at the end of a range.
        Index("ix_review_of_user", "user_id", "id"),
        Index("ix_review_second", "id", sqlite_where=SECOND_READING, postgresql_where=SECOND_READING),
    )

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    prediction_id: Mapped[int | None] = mapped_column(ForeignKey("prediction.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    action: Mapped[str] = mapped_column(String(20))
    finding: Mapped[str | None] = mapped_column(String(20))
    reason_code: Mapped[str | None] = mapped_column(String(40))
    note: Mapped[str] = mapped_column(Text, default="")
    other_finding: Mapped[str] = mapped_column(Text, default="", server_default="")
    why: Mapped[str] = mapped_column(Text, default="", server_default="")
    salt: Mapped[str | None] = mapped_column(SALT)
    undoes_id: Mapped[int | None] = mapped_column(ForeignKey("review.id"), unique=True)
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("review.id"))
    score_shown: Mapped[bool | None]
    map_shown: Mapped[bool | None]
    open_ms: Mapped[int | None] = mapped_column(BigInteger)
    stage: Mapped[str | None] = mapped_column(String(20))
    leads_to: Mapped[str | None] = mapped_column(String(20))
    protocol_id: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[datetime]

    user: Mapped[User] = relationship()
    image: Mapped[Image] = relationship(back_populates="reviews")


class SiteSetting(Base):
    """A value that people chose for the whole site. The last row of a name is in force, and no row is ever changed.

    Only the reason, which a person typed, can be erased, with its salt.
    """

    __tablename__ = "site_setting"
    __table_args__ = (Index("ix_site_setting_of_name", "name", "id"),)

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    value: Mapped[dict[str, Any]] = mapped_column(JSON)
    set_by: Mapped[str] = mapped_column(String(200))
    why: Mapped[str] = mapped_column(Text)
    salt: Mapped[str | None] = mapped_column(SALT)
    at: Mapped[datetime]


class SiteCalibration(Base):
    """A recalibration of a model's scores to this site. No row is ever changed; `SiteSetting` says which one is in force.

    `version` counts the rows of a model from 1. `cases_digest` is the SHA-256 of the cases that it was fitted on, and
    `figures` has their numbers and the held-out figures: see `worker.recalibration.held_out`.
    """

    __tablename__ = "site_calibration"
    __table_args__ = (UniqueConstraint("model_id", "version"),)

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"))
    version: Mapped[int]
    intercept: Mapped[float]
    slope: Mapped[float]
    prevalence: Mapped[float]
    cases_digest: Mapped[str] = mapped_column(String(64))
    figures: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime]


class Rescore(Base):
    """An image that lost its score to be scored again. `seen_at` is null until a person has seen the result.

    `prediction_id` is the earlier prediction. `reason_code` is `cropped`, the code of a rejection, or `unchecked`.
    """

    __tablename__ = "rescore"
    __table_args__ = (Index("ix_rescore_unseen", "id", sqlite_where=UNSEEN, postgresql_where=UNSEEN),)

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), index=True)
    prediction_id: Mapped[int] = mapped_column(ForeignKey("prediction.id"))
    reason_code: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime]
    seen_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    seen_at: Mapped[datetime | None]

    image: Mapped[Image] = relationship(back_populates="rescores")
    prediction: Mapped[Prediction] = relationship()


class Erasure(Base):
    """Why and when a person erased an image. Its event says who."""

    __tablename__ = "erasure"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), unique=True)
    reason: Mapped[str] = mapped_column(Text)
    salt: Mapped[str | None] = mapped_column(SALT)
    at: Mapped[datetime]


class SiteKey(Base):
    """A site key that makes patient keys from `at` on. The ledger has only its fingerprint; the last row is in force."""

    __tablename__ = "site_key"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


class Recheck(Base):
    """The last prediction of a model that was checked with a newer preprocessing: `last_id`.

    While a worker checks the next ones, `busy_until` is the time after which another may. `attempts` counts that
    worker and the workers that died before with a page.
    """

    __tablename__ = "recheck"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id"), primary_key=True)
    preprocessing: Mapped[str] = mapped_column(String(20), primary_key=True)
    last_id: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int]
    busy_until: Mapped[datetime | None]


class ApiToken(Base):
    """A key with which a program may act for its owner. `key_hash` is the SHA-256 of the key, which nobody keeps.

    `scopes` is held as `worker.ledger.roles.scopes_text` writes it. `last_used_at` is at most a minute late.
    """

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    salt: Mapped[str | None] = mapped_column(SALT)
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    owner: Mapped[User] = relationship()


class Process(Base):
    """The last heartbeat of a process; one row for each name and host."""

    __tablename__ = "process"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    name: Mapped[str] = mapped_column(String(50))
    host: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int]
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    period_s: Mapped[float]
    trouble: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("name", "host"),)


class Bundle(Base):
    """A model bundle that the worker of a host has found there. The worker writes all rows of its host anew.

    `problem` says why the worker cannot use it; null: it can. `sha256` and `card` are null if the card cannot be read.
    """

    __tablename__ = "bundle"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    host: Mapped[str] = mapped_column(String(200), index=True)
    folder: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(String(50))
    sha256: Mapped[str | None] = mapped_column(String(64))
    card: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    problem: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime]


class ReceiverTally(Base):
    """How often the receiver did or refused something; one row for each kind that happened."""

    __tablename__ = "receiver_tally"

    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    total: Mapped[int] = mapped_column(BigInteger)


class MonitorDay(Base):
    """What was counted of one group of images on one UTC day: see `worker.monitor.counts.Counts`.

    It can be counted anew from the images at any time, and is never the truth. `model_id` is 0 for images without a score.
    """

    __tablename__ = "monitor_day"

    dimension: Mapped[str] = mapped_column(String(20), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    group_name: Mapped[str] = mapped_column(String(60), primary_key=True)
    model_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    as_of: Mapped[datetime]


class MonitorState(Base):
    """How far the monitor has counted, and what it found: see `worker.ledger.monitoring`."""

    __tablename__ = "monitor_state"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime]


class AuditEvent(Base):
    """One link of the hash chain. `payload` is canonical JSON, stored as the text that was hashed."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_rare_kind", "kind", "seq", sqlite_where=RARE_KIND, postgresql_where=RARE_KIND),
        Index(
            "ix_audit_event_of_actor",
            "actor",
            "seq",
            sqlite_where=NOT_THE_PROGRAM,
            postgresql_where=NOT_THE_PROGRAM,
        ),
    )

    seq: Mapped[int] = mapped_column(KEY, primary_key=True, autoincrement=False)
    at: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(50))
    actor: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(100), index=True)
    payload: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class ChainHead(Base):
    """The single row with the end of the chain; a writer locks it before it appends."""

    __tablename__ = "chain_head"

    id: Mapped[int] = mapped_column(KEY, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class AccessRecord(Base):
    """One access: who saw, searched, exported or was refused what. Rows are only inserted: see `accesses`.

    It holds ids, codes and numbers only. `image_id` and `run_id` refer to no row, so that a record stays as it was
    whatever becomes of them, and so that it waits for no lock. `total` is the number of equal accesses.
    """

    __tablename__ = "access_record"
    __table_args__ = (
        Index("ix_access_record_of_image", "image_id", "id"),
        Index("ix_access_record_of_actor", "actor", "id"),
        Index("ix_access_record_of_kind", "kind", "id"),
        Index("ix_access_record_of_actor_and_kind", "actor", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcTime, index=True)
    kind: Mapped[str] = mapped_column(String(20))
    actor: Mapped[str] = mapped_column(String(200))
    image_id: Mapped[int | None] = mapped_column(BigInteger)
    run_id: Mapped[int | None] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(String(100))
    total: Mapped[int]
    reason_seal: Mapped[str | None] = mapped_column(String(64))


class AccessReason(Base):
    """The reason that somebody gave for an access, which holds its seal. Text and salt can be erased."""

    __tablename__ = "access_reason"

    access_id: Mapped[int] = mapped_column(
        KEY, ForeignKey("access_record.id"), primary_key=True, autoincrement=False
    )
    reason: Mapped[str] = mapped_column(Text)
    salt: Mapped[str | None] = mapped_column(SALT)


class AccessBatch(Base):
    """The accesses above the last one of the batch before, up to `last_id`: number and SHA-256 of their rows.

    An event of the audit trail has the same values. Rows are only inserted.
    """

    __tablename__ = "access_batch"

    id: Mapped[int] = mapped_column(KEY, primary_key=True)
    first_id: Mapped[int] = mapped_column(BigInteger)
    last_id: Mapped[int] = mapped_column(BigInteger, unique=True)
    total: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]


def _corners(*corners: int | None) -> Corners | None:
    known = tuple(corner for corner in corners if corner is not None)
    return (known[0], known[1], known[2], known[3]) if len(known) == len(corners) else None
