"""Names and tooltips of the nodes, the same in both schemas."""

CATEGORY = "dsvd"
ROWS = 4

DISPLAY = {
    "DsvdLoadCheckpoint": "Load Checkpoint (dsvd)",
    "DsvdApplySubject": "Apply Subject (dsvd)",
    "DsvdApplySubjects": "Apply Subjects (dsvd)",
}

TIPS = {
    "DsvdLoadCheckpoint": "Load the full checkpoint of a subject: the exact file of the registry.",
    "DsvdApplySubject": "Add a subject to the loaded base that it was made from.",
    "DsvdApplySubjects": "Add up to four subjects, by weight, to the base that they were made from.",
    "subject": "A model of the registry. Press R to read the list again.",
    "version": "latest, a number or an alias.",
    "tau": "A lower tau than the stored one keeps less of the change. 0: as stored.",
    "strength": "How much of the change is added. 1: all of it.",
    "clip": "Without it, the text encoder stays that of the base.",
}
