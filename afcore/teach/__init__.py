"""Teach: label new sound classes by giving a few examples. No drawing here; `pages/` and the command line both call
this.

Every method that changes something takes ``who``, the reviewer's name, is one SQLite transaction, and has been written
to the disk when it returns. Any number of threads and processes may work on one project at once. Errors are
`afcore.errors` sentences; `schema.Changed` (a `BadRequest`) names who was faster.

**store** — where projects are. A project is a folder: ``project.sqlite`` and ``audio/<2 hex>/<sha256>``::

    store = Store()                            # AFCORE_PROJECTS, else AFCORE_DATA/projects; store.folder shows it
    store.projects() -> list[Summary]          # id, name, counts, who changed what last; the latest first
    project = store.create("pumps", [Label("cavitating", "like gravel"), "running"], who="Mara")
    project = store.open(project_id);  store.remove(project_id, who)

    project.name, .labels -> list[Label], .settings -> Settings, .revision -> int    # read afresh each time
    project.rename(name, who);  project.set_labels(labels, who, expect=None);  project.rename_label(old, new, who)
    project.set_settings(replace(project.settings, k=8), who, expect=None)
    project.version("labels" | "settings" | "name") -> int     # give it as ``expect``: refused if somebody was faster
    project.items(*states) -> list[ProjectClip];  project.item(clip_id) -> ProjectClip;  project.counts() -> Counts
    project.sound_path(item) -> Path           # the file as it was uploaded
    project.prediction(clip_id) -> Prediction | None;  project.predictions() -> dict[int, Prediction]
    project.history(limit, clip_id=None) -> list[Change]       # who changed what, the latest first
    project.relabel(clip_id, label, who, version);  project.discard(clip_id, who, version)
    project.undo_change(change_id, who)        # a change of a clip, the name, labels or settings, unless changed since

**loading** — sounds go in, each saved before the next is read; what cannot be read is named, the others go in::

    add_files(project, [(name, path | bytes | open file), ...], who, label=None, test=False, progress, stop) -> Added
    add_zip(project, path | bytes | open file, who, label=None, folders_are_labels=False, test=False, ...) -> Added
    add_folder(project, path, who, ...same) -> Added  # in one of allowed_folders() (AFCORE_SERVER_FOLDERS)
    add_from_bank(project, bank, example_ids, who, label=None, own_labels=False, test=False, truth=None)
        -> Added
    cut(project, clip_id, [(start, end), ...], who) -> Added   # a long recording in the queue becomes its segments
    Added.clips (ids), .known (sentences), .refused (sentences)

**loop** — the engine's part. ``Loop(project, engine)`` is cheap; every method waits for its turns clip by clip::

    loop.embed(progress, stop) -> int          # resumes where it was; damaged clips get ProjectClip.fault
    loop.predict(item, method=None, k=None) -> Prediction      # not stored; by default the project's method and k
    loop.refresh(limit=20, progress, stop) -> int    # stores predictions: clips in somebody's hands, then the queue
    loop.start() -> Job                   # in the background: embed, then refresh until nothing is stale; one a project
    loop.is_fresh(prediction) -> bool;  loop.stale() -> int

**predict** — one clip, any method, no storage (what a batch run on files calls)::

    examples = Examples(project, engine)       # a snapshot of the project's examples, used like a Bank
    heard = hear(engine, clip)                 # rounded as stored features are, so every way gives the same numbers
    classify(engine, heard, examples, method, k, exclude=()) -> Prediction  # .verdict(reject_below, reject_similarity)
    METHODS = {"lm-zero": ..., "lm-shots": ..., "clap-nn": ..., "clap-text": ...}        # name: sentence for people

**review** — the queue, uncertain clips first::

    queue = ReviewQueue(project)
    queue.next_clip(who) -> ProjectClip | None        # leased for 10 minutes to who; the same again until it is judged
    queue.upcoming(limit) -> list[ProjectClip];  queue.release(who);  queue.waiting() -> int
    queue.in_hands() -> [(ProjectClip, who)]
    queue.accept(item.id, label, who, item.version) -> ProjectClip    # becomes an example; label None: none of these
    queue.skip(item.id, who, item.version);  queue.restore_skipped(who) -> int
    queue.undo(who) -> ProjectClip                    # the reviewer's last judgement; the clip is in their hands again

**transfer**: ``export_project(project, target)``, ``import_project(store, source, who) -> Project``.
**tutorial**: ``make_tutorial(store, bank, who) -> Project``; what its labels have brought is what `proof.of_project`
says.
"""
