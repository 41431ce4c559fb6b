#!/bin/sh
# Starts captiond in the container, as the user whose pictures they are.  It changes the owner of no file.
#
# Usually it has nothing to do: the image runs as 1000:1000, or as `--user UID:GID` says.  Where a container can
# only be started as root (`--user 0`, as many NAS boxes do), it goes on as PUID:PGID and gives up root for good.
# Of root's powers it keeps LEASE, if the container has it (`--cap-add LEASE`): with it the kernel tells whether a
# program still writes a file of another user, and pictures of others are taken as soon as one's own.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    keep="--inh-caps=+lease --ambient-caps=+lease"
    # shellcheck disable=SC2086 # two options
    setpriv $keep true 2>/dev/null || keep=
    # shellcheck disable=SC2086 # two options or none
    exec setpriv --reuid="${PUID:-1000}" --regid="${PGID:-1000}" --clear-groups $keep --no-new-privs captiond "$@"
fi

if [ "${PUID:-$(id -u)}:${PGID:-$(id -g)}" != "$(id -u):$(id -g)" ]; then
    echo "captiond: PUID and PGID ask for ${PUID:-$(id -u)}:${PGID:-$(id -g)}, and this container runs as $(id -u):$(id -g)." >&2
    echo "  Start it with --user ${PUID:-$(id -u)}:${PGID:-$(id -g)} instead, or with --user 0 to have PUID and PGID obeyed." >&2
    exit 78
fi
exec captiond "$@"
