#!/bin/sh
# Starts captiond in the container, as the user whose pictures they are.  It changes the owner of no file.
#
# Usually it has nothing to do: the image runs as 1000:1000, or as `--user UID:GID` says.  Where a container can
# only be started as root (`--user 0`, as many NAS boxes do), it goes on as PUID:PGID and gives up root for good.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    exec setpriv --reuid="${PUID:-1000}" --regid="${PGID:-1000}" --clear-groups --no-new-privs captiond "$@"
fi

if [ "${PUID:-$(id -u)}:${PGID:-$(id -g)}" != "$(id -u):$(id -g)" ]; then
    echo "captiond: PUID and PGID ask for ${PUID:-$(id -u)}:${PGID:-$(id -g)}, and this container runs as $(id -u):$(id -g)." >&2
    echo "  Start it with --user ${PUID:-$(id -u)}:${PGID:-$(id -g)} instead, or with --user 0 to have PUID and PGID obeyed." >&2
    exit 78
fi
exec captiond "$@"
