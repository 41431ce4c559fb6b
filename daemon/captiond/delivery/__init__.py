"""Delivery: from a claimed file in the inbox to a committed caption, or to failed/ with the reason.

The only room that renames.  It may touch the four folders and nothing else; it never follows a link, never
replaces a name that exists in done/ or failed/ (but for `edit`, which puts an image with other texts in the
place of its twin, and takes away a file that an approval made if the approval is undone), and removes an
original only when its delivery is durable.

What it keeps lies in `.captiond/` folders that are the daemon's own (`support.own`).  A trace is still data
and not truth: its size is bounded, each path, name, number and checksum in it is checked before delivery acts
on it, and everything is opened beneath a descriptor.  A trace that cannot be understood goes to
`.captiond/not-understood/`, with a notice, and stops no other delivery.

At every instant, power loss included, an image that was complete in the inbox, and each file that lies beside
it and travels with it, lies whole in the inbox, in done/ or in failed/.  The commit is one event:
`X.caption.json` appears, with `X` complete beside it and all that came along.

A delivery is a list of files, the pieces: the image, its companions, and what is made beside it.  They are
written, named, shown and recovered alike; most deliveries have one.

    claim     what lies beside it is quiet; the attempt is counted durably, then the file is read once through
              one descriptor
    1  write  done/.captiond/<job>.json    the redo record: the sidecar itself, all that spares the model
    2  write  done/.captiond/<job>.img     the image, described, with the original's time and permissions
              done/.captiond/<job>.1 ...   companions, copied a piece at a time, and what is merged or made;
                                           then the record again, which tells of companions, and fsync
              done/.captiond/<job>.claim   each piece: which file was taken (path, inode, size, times, sha256)
                                           and what is shown of it; the name X, free for all and the record
       fsync  the files and their folder
    3  move   <job>.img  -> done/X, then <job>.1 ... -> beside it, without replacing; fsync done/.  If a
                                           name was taken meanwhile, all go back, and the next X is written
                                           into the claim, durably, and then tried
    4  move   <job>.json -> done/X.caption.json    = commit; fsync done/
       rename <job>.claim -> <job>.delivered       nothing but the originals are left to do
    5  grab   inbox/X -> inbox/.captiond/grab/<job>, look again, unlink; fsync both; likewise each companion
       fsync  done/.captiond/, remove <job>.delivered

Setting aside moves the original itself into failed/, so that it needs no room and keeps all that it has; see
`handover`.  If such a move is impossible, failed/ works the way above, with the untouched bytes.  Beside it
lies `X.error.json`; companions stay in the inbox, where `captiond retry` brings the image back to them.

A duplicate is a file that was delivered before and still lies in done/.  Its claim takes it out of the inbox
by step 5 alone (`duplicates`); recovery obeys the mark of a duplicate only while its twin stands in done/.

Names are those that were dropped, if they are free and the file system holds them.  A name that is taken gets
the first digits of the file's checksum, a name that is refused those of its own.  If one name, one sub-folder
or the size of one file is in the way, only that picture waits (`troubles`), with its caption in the record.

Why this order.  Until 5 the originals lie in the inbox, so a crash before 4 can lose nothing; the record
comes first, so a crash after 1 needs the image's bytes and never the model.

The claim serves a crash between 3 and 4: pieces have left `.captiond/` by then, for names that depended on
which were free.  The claim is durable before the first piece moves and says which names were chosen; the
sha256 of what lies there shows that it is ours.  So the same crash gives the same names.

The claim serves a crash after 4 too.  A record that has left `.captiond/` does not prove the commit: a power
cut may have come before its first fsync.  A sidecar missing from done/ does not disprove it: a program that
waits for sidecars may have taken the files away.  So an original is removed only if a `.delivered` mark, made
after the commit's fsync, or the sidecar itself in done/ says so; in doubt an image is captioned twice and
never lost.  And the claim tells the original from the same bytes dropped anew under the same name: those have
another inode and another time, and become `X~<first 8 of the sha256>`.

What recovery finds, and does (at the start, and at any later time for what a pause interrupted):

    .delivered                           step 5; for a duplicate only if its twin stands; if others may write
                                         into `.captiond/` on this file system, only if the sidecar is there
    .claim, and its sidecar in done/     mark, step 5
    record, claim, every piece whole, in .captiond/ or in its place: steps 3, 4, 5
    record, some piece torn or missing, or no claim: what is shown is hidden again, and step 2 is repeated
                                         with the original, what lies beside it, and the record's caption
    ... and no such original             a whole image in .captiond/ goes on; without one nothing is removed,
                                         and a notice in `unresolved` says so
    no record                            temporary files: removed
    a trace that is no file, or that no delivery can have written: moved to `not-understood/`; but a record
                                         or a claim alone is made anew, if the other says enough

A companion that is being written makes its picture wait: at the claim nothing is charged, and later the
record waits in `.captiond/`, so that the caption is not made again.  A companion that two pictures share
belongs to the first that stages it, until that delivery is over: `Takers` remember it, and after a crash the
claim does.

Accepted risks.  Between the last look at an original and its rename to grab/ lie microseconds in which a
writer may open it; it is looked at again afterwards, and put back if it changed or is held open for writing.
If another volume is mounted inside the inbox there is no such rename, only the look.  On file systems
with neither rename flags nor links the delivered names are visible as empty files for an instant, and after
a crash an empty file that is younger than the claim of its name counts as ours.  An original that cannot be
taken out of the inbox after the commit stays there, is remembered and tried again (`leftovers`), and is not
delivered again (its claims answer TryLater and say why), as long as its content does not change.  If a crash
comes between the unlink and the removal of the mark, and the same bytes are dropped anew under the same name
before the restart, and the file system gives them the very inode of the old ones, they count as delivered,
which they are.

Inside: `deliver` (what the pipeline calls), `staging` (2), `steps` (3 and 4), `leftovers` and `originals`
(the claimed files, and 5), `recovery`, `finishing` (whose turn it is); `failing` and `handover` (to failed/),
`duplicates`; `edit` with `laying` and `edit_steps` (other or approved texts for what lies in done/) and
`retry` (back into the inbox), which have protocols of their own; beneath them `companions` (what travels
along), `claims` (what a delivery takes, and where it goes), `journal` (what all three write in .captiond/
before they begin), `not_understood`, `troubles`, `folders` (the folders), `moves`, `attributes` and `access`
(who may do what with a file), `files`.
"""

from captiond.delivery.deliver import Delivery
from captiond.delivery.edit import Changed, Held, Look, Overtaken

__all__ = ["Changed", "Delivery", "Held", "Look", "Overtaken"]
