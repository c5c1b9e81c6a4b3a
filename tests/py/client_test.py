"""What an unmodified kazoo client may expect of the server.

Usage: client_test.py HOST:PORT [NAME ...]

Runs every function below whose name begins with `check_` (or the named ones) and prints one line for each. Any
failed one makes the exit code 1. The server must run with a tick of 500 ms, so that the shortest session timeout
is one second. Nothing here measures time: waits are bounded only so that a hang becomes a failure.
"""

import os
import subprocess
import sys
import threading
import traceback

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionLoss,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import Callback, EventType
from kazoo.security import CREATOR_ALL_ACL, make_digest_acl, make_digest_acl_credential

PATIENCE = 30
HOSTS = None


class Connected:
    """A started client that is closed at the end of the block."""

    def __init__(self, **options):
        options.setdefault("timeout", 10.0)
        self.client = KazooClient(hosts=HOSTS, **options)

    def __enter__(self):
        self.client.start(timeout=PATIENCE)
        return self.client

    def __exit__(self, *_):
        self.client.stop()
        self.client.close()


def expect(error, function, *arguments, **options):
    """The call must raise exactly this error."""
    try:
        result = function(*arguments, **options)
    except error:
        return
    raise AssertionError(f"{function.__name__}{arguments} returned {result!r} instead of {error.__name__}")


def same(left, right):
    assert left == right, f"{left!r} != {right!r}"


class Events:
    """A watch function that collects events; `next` waits for one."""

    def __init__(self):
        self.seen = []
        self.arrived = threading.Semaphore(0)

    def __call__(self, event):
        self.seen.append(event)
        self.arrived.release()

    def next(self):
        assert self.arrived.acquire(timeout=PATIENCE), f"no event after {self.seen}"
        return self.seen[-1]

    def none_more(self, client, count):
        """After a round trip every event of earlier changes has arrived, because a connection is ordered."""
        client.sync("/")
        done = threading.Event()
        client.handler.dispatch_callback(Callback("watch", done.set, ()))
        assert done.wait(PATIENCE)
        same(len(self.seen), count)


def check_create_get_set_delete():
    with Connected() as zk:
        same(zk.create("/crud", b"one"), "/crud")
        data, stat = zk.get("/crud")
        same((data, stat.version, stat.dataLength, stat.ephemeralOwner), (b"one", 0, 3, 0))
        same(stat.czxid, stat.mzxid)
        same(stat.ctime, stat.mtime)
        after = zk.set("/crud", b"other")
        same((after.version, after.czxid, after.dataLength), (1, stat.czxid, 5))
        assert after.mzxid > stat.mzxid
        same(zk.get("/crud")[0], b"other")
        same(zk.exists("/crud").version, 1)
        same(zk.delete("/crud"), True)
        same(zk.exists("/crud"), None)
        expect(NoNodeError, zk.get, "/crud")
        expect(NoNodeError, zk.set, "/crud", b"")
        expect(NoNodeError, zk.delete, "/crud")
        expect(NoNodeError, zk.create, "/crud/child")


def check_children_and_parent_stat():
    with Connected() as zk:
        zk.create("/family")
        same(zk.get_children("/family"), [])
        for name in ["b", "a", "c", "\u00e4\u6f22 x"]:
            zk.create("/family/" + name)
        children, stat = zk.get_children("/family", include_data=True)
        same(sorted(children), sorted(["a", "b", "c", "\u00e4\u6f22 x"]))
        same((stat.numChildren, stat.cversion, stat.version), (4, 4, 0))
        expect(NotEmptyError, zk.delete, "/family")
        zk.delete("/family/b")
        stat = zk.exists("/family")
        same((stat.numChildren, stat.cversion), (3, 5))
        assert stat.pzxid > stat.mzxid
        zk.delete("/family", recursive=True)
        same(zk.exists("/family"), None)
        expect(NodeExistsError, zk.create, "/zookeeper")


def check_ensure_path_and_create_makepath():
    with Connected() as zk:
        zk.ensure_path("/deep/er/and/deeper")
        zk.ensure_path("/deep/er/and/deeper")
        path, stat = zk.create("/deep/other/leaf", b"x", makepath=True, include_data=True)
        same((path, stat.version, stat.dataLength), ("/deep/other/leaf", 0, 1))
        zk.delete("/deep", recursive=True)


def check_versions():
    with Connected() as zk:
        zk.create("/versions", b"0")
        same(zk.set("/versions", b"1", version=0).version, 1)
        expect(BadVersionError, zk.set, "/versions", b"2", version=0)
        same(zk.get("/versions")[0], b"1")
        expect(BadVersionError, zk.delete, "/versions", version=0)
        zk.delete("/versions", version=1)


def check_sequential():
    with Connected() as zk:
        zk.create("/seq")
        names = [zk.create("/seq/n-", sequence=True) for _ in range(3)]
        same(names, [f"/seq/n-{i:010}" for i in range(3)])
        zk.delete(names[2])
        zk.create("/seq/plain")
        same(zk.create("/seq/m", sequence=True, ephemeral=True), "/seq/m0000000004")
        same(zk.create("/seq/", sequence=True), "/seq/0000000005")


def check_ephemeral_is_gone_after_close():
    with Connected() as watcher:
        with Connected() as owner:
            owner.create("/fleeting", b"", ephemeral=True)
            same(watcher.exists("/fleeting").ephemeralOwner, owner.client_id[0])
            expect(NoChildrenForEphemeralsError, owner.create, "/fleeting/child")
            events = Events()
            watcher.exists("/fleeting", watch=events)
        same(events.next().type, EventType.DELETED)
        same(watcher.exists("/fleeting"), None)


def die_with_an_ephemeral(path, timeout):
    """Creates an ephemeral in a process that dies without closing its session; returns the session."""
    code = (
        "import os, sys\nfrom kazoo.client import KazooClient\n"
        f"zk = KazooClient(hosts={HOSTS!r}, timeout={timeout})\nzk.start(timeout={PATIENCE})\n"
        f"zk.create({path!r}, ephemeral=True)\nprint(zk.client_id[0], zk.client_id[1].hex())\n"
        "sys.stdout.flush()\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    number, secret = done.stdout.split()
    return int(number), bytes.fromhex(secret)


def check_ephemeral_is_gone_after_expiry():
    with Connected() as zk:
        events = Events()
        same(zk.exists("/orphan", watch=events), None)
        die_with_an_ephemeral("/orphan", timeout=1.0)
        same(events.next().type, EventType.CREATED)
        # Now either it is still there and a watch tells of its end, or it is already gone.
        if zk.exists("/orphan", watch=events):
            same(events.next().type, EventType.DELETED)
        same(zk.exists("/orphan"), None)


def check_watches_of_three_kinds():
    with Connected() as zk, Connected() as other:
        data, child, exist = Events(), Events(), Events()
        zk.create("/watched", b"0")
        zk.get("/watched", watch=data)
        zk.get_children("/watched", watch=child)
        same(zk.exists("/watched/kid", watch=exist), None)

        other.set("/watched", b"1")
        event = data.next()
        same((event.type, event.path), (EventType.CHANGED, "/watched"))

        other.create("/watched/kid")
        event = exist.next()
        same((event.type, event.path), (EventType.CREATED, "/watched/kid"))
        event = child.next()
        same((event.type, event.path), (EventType.CHILD, "/watched"))

        # One shot each: a second change is silent.
        other.set("/watched", b"2")
        other.create("/watched/kid2")
        data.none_more(zk, 1)
        child.none_more(zk, 1)

        # Data and child watch on a node that goes: one event for the pair, and one for the parent's watch.
        gone_data, gone_child, parent = Events(), Events(), Events()
        zk.get("/watched/kid", watch=gone_data)
        zk.get_children("/watched/kid", watch=gone_child)
        zk.get_children("/watched", watch=parent)
        other.delete("/watched/kid")
        same(gone_data.next().type, EventType.DELETED)
        same(gone_child.next().type, EventType.DELETED)
        same(parent.next().type, EventType.CHILD)


def check_own_change_is_seen_before_its_reply():
    with Connected() as zk:
        events = Events()
        zk.create("/order", b"0")
        zk.get("/order", watch=events)
        zk.set("/order", b"1")
        # The reply came after the event on the same connection, so the event waits in the queue at the latest now.
        events.none_more(zk, 1)


def check_data_and_children_watch_recipes():
    with Connected() as zk, Connected() as other:
        zk.create("/recipes", b"0")
        versions, families = [], []
        changed = threading.Semaphore(0)

        @zk.DataWatch("/recipes")
        def on_data(data, stat):
            versions.append(data)
            changed.release()

        @zk.ChildrenWatch("/recipes")
        def on_children(children):
            families.append(sorted(children))
            changed.release()

        for _ in range(2):
            assert changed.acquire(timeout=PATIENCE)
        other.set("/recipes", b"1")
        assert changed.acquire(timeout=PATIENCE)
        other.create("/recipes/a")
        assert changed.acquire(timeout=PATIENCE)
        same((versions, families), ([b"0", b"1"], [[], ["a"]]))


def check_multi():
    with Connected() as zk:
        multi = zk.transaction()
        multi.create("/multi", b"p")
        multi.create("/multi/child-", b"c", sequence=True)
        multi.set_data("/multi", b"q")
        multi.check("/multi", 1)
        results = multi.commit()
        same((results[0], results[1]), ("/multi", "/multi/child-0000000000"))
        same((results[2].version, results[3]), (1, True))
        parent, child = zk.exists("/multi"), zk.exists("/multi/child-0000000000")
        same((parent.czxid, parent.mzxid, parent.pzxid), (child.czxid,) * 3)


def check_multi_is_rolled_back():
    with Connected() as zk:
        zk.create("/rollback", b"0")
        before = zk.exists("/rollback")
        multi = zk.transaction()
        multi.create("/rollback/a")
        multi.set_data("/rollback", b"1")
        multi.check("/rollback", 7)
        multi.delete("/rollback")
        results = multi.commit()
        same(
            [type(r) for r in results],
            [RolledBackError, RolledBackError, BadVersionError, RuntimeInconsistency],
        )
        same(zk.get("/rollback"), (b"0", before))
        same(zk.exists("/rollback/a"), None)
        same(zk.create("/rollback/s", sequence=True), "/rollback/s0000000000")


def check_digest_acl():
    with Connected() as owner, Connected() as stranger:
        owner.add_auth("digest", "lena:secret")
        acl = make_digest_acl("lena", "secret", all=True)
        owner.create("/private", b"x", acl=[acl])
        same(owner.get("/private")[0], b"x")
        same(owner.get_acls("/private")[0], [acl])
        for call in [
            lambda: stranger.get("/private"),
            lambda: stranger.set("/private", b"y"),
            lambda: stranger.get_children("/private"),
            lambda: stranger.create("/private/child"),
            lambda: stranger.set_acls("/private", [acl]),
            lambda: stranger.get_acls("/private"),
        ]:
            expect(NoAuthError, call)
        stranger.add_auth("digest", "lena:wrong")
        expect(NoAuthError, stranger.get, "/private")
        stranger.add_auth("digest", "lena:secret")
        same(stranger.get("/private")[0], b"x")
        # Deletion is judged by the parent.
        with Connected() as third:
            third.delete("/private")


def check_acl_of_the_creator_and_set_acl():
    with Connected() as zk, Connected() as stranger:
        expect(InvalidACLError, zk.create, "/mine", acl=CREATOR_ALL_ACL)
        zk.add_auth("digest", "a:b")
        zk.create("/mine", acl=CREATOR_ALL_ACL)
        acls, stat = zk.get_acls("/mine")
        same([(a.perms, a.id.scheme, a.id.id) for a in acls], [(31, "digest", make_digest_acl_credential("a", "b"))])
        same(stat.aversion, 0)
        readers = [make_digest_acl("a", "b", all=True), make_digest_acl("c", "d", read=True)]
        same(zk.set_acls("/mine", readers).aversion, 1)
        expect(BadVersionError, zk.set_acls, "/mine", readers, version=0)
        stranger.add_auth("digest", "c:d")
        same(stranger.get("/mine")[0], b"")
        expect(NoAuthError, stranger.set, "/mine", b"")
        # A reader sees who may, but not the hashes.
        masked = stranger.get_acls("/mine")[0]
        same(sorted(a.id.id for a in masked), ["a:x", "c:x"])


def check_auth_failure():
    with Connected() as zk:
        expect(AuthFailedError, zk.add_auth, "no-such-scheme", "a:b")


def check_session_is_resumed():
    session = die_with_an_ephemeral("/resumed", timeout=10.0)
    with Connected(client_id=session) as zk:
        same(zk.client_id, session)
        same(zk.exists("/resumed").ephemeralOwner, session[0])
    with Connected() as zk:
        same(zk.exists("/resumed"), None)


def check_wrong_password_does_not_resume():
    with Connected() as owner:
        owner.create("/guarded", ephemeral=True)
        wrong = (owner.client_id[0], b"0123456789abcdef")
        with Connected(client_id=wrong) as thief:
            assert thief.client_id[0] != wrong[0], "resumed with a wrong password"
            same(thief.exists("/guarded").ephemeralOwner, wrong[0])


def check_closed_session_cannot_be_resumed():
    with Connected() as zk:
        session = zk.client_id
    with Connected(client_id=session) as again:
        assert again.client_id[0] != session[0], "a closed session came back"


def check_one_megabyte():
    with Connected() as zk:
        # jute.maxbuffer is 1048575 and counts the whole frame: header 8, path, lengths, ACL 31, flags.
        overhead = 8 + 4 + len("/large") + 4 + 4 + 4 + (4 + 5) + (4 + 6) + 4
        data = os.urandom(1048575 - overhead)
        zk.create("/large", data)
        same(zk.get("/large")[0], data)
        smaller = os.urandom(1000 * 1000)
        zk.set("/large", smaller)
        same(zk.get("/large")[0], smaller)
        zk.delete("/large")


def check_more_than_a_megabyte_is_refused():
    with Connected() as zk:
        expect(ConnectionLoss, zk.create, "/too-large", bytes(1048576))
        zk.retry(zk.sync, "/")
        same(zk.exists("/too-large"), None)


def check_2000_requests_in_flight():
    with Connected() as zk:
        zk.create("/flight")
        creates = [zk.create_async(f"/flight/{i:04}", str(i).encode()) for i in range(1000)]
        sets = [zk.set_async("/flight", str(i).encode()) for i in range(500)]
        gets = [zk.get_async(f"/flight/{i:04}") for i in range(500)]
        same([c.get(timeout=PATIENCE) for c in creates], [f"/flight/{i:04}" for i in range(1000)])
        same([s.get(timeout=PATIENCE).version for s in sets], list(range(1, 501)))
        same([g.get(timeout=PATIENCE)[0] for g in gets], [str(i).encode() for i in range(500)])
        same(zk.get("/flight")[0], b"499")
        same(len(zk.get_children("/flight")), 1000)
        deletes = [zk.delete_async(f"/flight/{i:04}") for i in range(1000)]
        assert all(d.get(timeout=PATIENCE) for d in deletes)
        zk.delete("/flight")


def check_server_version():
    with Connected() as zk:
        version = zk.server_version()
        assert version >= (3, 8), version
        assert b"imok" == zk.command(b"ruok").encode()
        for word, expected in [(b"srvr", "Mode: standalone"), (b"stat", "Clients:"), (b"mntr", "zk_version")]:
            answer = zk.command(word)
            assert expected in answer, (word, answer)


def check_lock_and_counter_recipes():
    with Connected() as one, Connected() as two:
        lock, other = one.Lock("/lock", "one"), two.Lock("/lock", "two")
        assert lock.acquire(timeout=PATIENCE)
        same(other.acquire(blocking=False), False)
        same(one.Lock("/lock").contenders(), ["one"])
        lock.release()
        assert other.acquire(timeout=PATIENCE)
        other.release()

        def add(client):
            counter = client.Counter("/counter")
            for _ in range(20):
                counter += 1

        threads = [threading.Thread(target=add, args=(c,)) for c in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        same(one.Counter("/counter").value, 40)


def check_queue_and_barrier_recipes():
    with Connected() as zk:
        queue = zk.Queue("/queue")
        for value in [b"1", b"2", b"3"]:
            queue.put(value)
        same([queue.get(), queue.get(), queue.get(), queue.get()], [b"1", b"2", b"3", None])
        barrier = zk.Barrier("/barrier")
        barrier.create()
        assert barrier.remove() and barrier.wait(timeout=PATIENCE)


def main():
    global HOSTS
    HOSTS = sys.argv[1]
    chosen = sys.argv[2:] or [name for name in globals() if name.startswith("check_")]
    failed = []
    for name in chosen:
        try:
            globals()[name]()
            print("ok  ", name, flush=True)
        except Exception:
            failed.append(name)
            print("FAIL", name, flush=True)
            traceback.print_exc(file=sys.stdout)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} passed; failed: {failed}", flush=True)
    # Threads of a failed check's client must not keep the process.
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
