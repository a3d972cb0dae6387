#!/bin/sh
# Create the passwords and folders that docker-compose.yml needs. Run it once, as root, beside that file:
#
#   sudo sh packaging/container-secrets.sh
#
# Each file belongs to the user of the container that reads it, and no other user can read it.
set -eu
umask 077
if [ "$(id -u)" != 0 ]; then
    echo "Run this as root: each file gets the user of the container that reads it. Nothing was changed." >&2
    exit 1
fi
if [ -e secrets ]; then
    echo "The folder secrets exists already. Nothing was changed." >&2
    exit 1
fi

# The users of the images: Nightread, its signer, PostgreSQL, Redis.
nightread=10001:10001 signer=10002:10002 postgres=70:70 redis=999:1000

password() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# Write stdin to a file of this user.
secret() {
    cat >"$new/$1"
    chown "$2" "$new/$1"
}

# Create a folder of this user. One that exists keeps its mode.
folder() {
    mkdir -p "$1"
    chown "$2" "$1"
}

owner=$(password) app=$(password) auditor=$(password) broker=$(password)
new=$(mktemp -d ./secrets.XXXXXX)

password | secret postgres_password "$postgres"
secret role_passwords.sql "$postgres" <<END
ALTER ROLE nightread_owner PASSWORD '$owner';
ALTER ROLE nightread_app PASSWORD '$app';
ALTER ROLE nightread_auditor PASSWORD '$auditor';
END
echo "postgresql://nightread_owner:$owner@postgres:5432/nightread" | secret owner_url "$nightread"
echo "postgresql://nightread_app:$app@postgres:5432/nightread" | secret app_url "$nightread"
echo "postgresql://nightread_auditor:$auditor@postgres:5432/nightread" | secret auditor_url "$signer"
echo "redis://nightread:$broker@redis:6379/0" | secret broker_url "$nightread"
password | secret phantom_key "$nightread"
password | secret site_key "$nightread"
# The hash of the password is enough for Redis. Without a password, a client may only send PING.
secret redis.acl "$redis" <<END
user default on nopass resetkeys resetchannels -@all +ping
user nightread on #$(printf %s "$broker" | sha256sum | cut -d ' ' -f 1) ~* &* +@all -@admin -@dangerous
END

mkdir -p data
chmod 755 data
folder data/inbox "$nightread"
folder data/store "$nightread"
folder data/web "$nightread"
folder data/web/incoming "$nightread"
folder checkpoints "$signer"
mv "$new" secrets
echo "Created secrets, data and checkpoints."
