"""A platform in one page: prints what gateways send, and tells them what it has.

python subscriber.py HOST PORT [SITE]        needs paho-mqtt 2.1 or newer

It keeps everything in memory: put your database where it says COMMIT.  Whoever confirms what is not stored makes the
gateway forget it.
"""

import json
import sys
import time
import zlib

import paho.mqtt.client as mqtt

ROOT = "compound/v1/"
LANES = ("alarm", "event", "gap", "billing", "telemetry", "bulk")
stored = {}  # (site, gateway, epoch, lane) -> {seq: items}
announced = {}  # the same -> numbers that will never come
holes_before = {}  # the same, of streams that need a receipt -> numbers that were missing at the last look


def receive(client, userdata, message):
    site, gateway, lane = message.topic.removeprefix(ROOT).split("/")[:3]
    body = zlib.decompress(message.payload) if message.topic.endswith("/zlib") else message.payload
    envelope = json.loads(body)
    stream = (site, gateway, envelope["epoch"], lane)
    holes_before.setdefault(stream, set())  # a duplicate wants a receipt too
    if envelope["seq"] in stored.setdefault(stream, {}):
        return
    stored[stream][envelope["seq"]] = envelope["items"]  # COMMIT; paho sends the PUBACK when this function returns
    print(site, gateway, lane, envelope["seq"], f"{len(envelope['items'])} items", flush=True)
    for item in envelope["items"]:
        if lane == "alarm":
            print("  ", item["priority"], item["state"], item["message"]["zh"], item["message"]["en"], flush=True)
        if lane == "gap" and "from_seq" in item:
            other = (site, gateway, envelope["epoch"], item["lane"])
            announced.setdefault(other, set()).update(range(item["from_seq"], item["to_seq"] + 1))
            holes_before.setdefault(other, set())


def receipt(stream):
    """Up to *upto* everything is stored, announced, or missing: a hole that was there at the last look already."""
    settled = stored.get(stream, {}).keys() | announced.get(stream, set())
    holes = set(range(1, max(settled) + 1)) - settled
    missing = sorted(holes & holes_before[stream])[:100]
    upto = min(holes - set(missing), default=max(settled) + 1) - 1
    holes_before[stream] = holes
    return {"epoch": stream[2], "lane": stream[3], "upto": upto, "missing": [[n, n] for n in missing if n <= upto]}


def send_receipts(client):
    for stream in list(holes_before):
        client.publish(f"{ROOT}{stream[0]}/{stream[1]}/receipt", json.dumps(receipt(stream)), qos=1)
        if not holes_before[stream]:
            del holes_before[stream]


def main(host, port, site="+"):
    # A session that the broker keeps: what comes while we are away waits there.
    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, "example-platform", protocol=mqtt.MQTTv311, clean_session=False
    )
    client.on_connect = lambda *_: client.subscribe(
        [(f"{ROOT}{site}/+/{lane}{z}", 1) for lane in LANES for z in ("", "/zlib")]
    )
    client.on_message = receive
    client.connect(host, int(port), keepalive=30)
    due = 0.0
    while True:
        if client.loop(timeout=0.2) != mqtt.MQTT_ERR_SUCCESS:
            time.sleep(1)
            try:
                client.reconnect()
            except OSError:
                continue
        if client.is_connected() and time.monotonic() >= due:
            send_receipts(client)
            due = time.monotonic() + 1


if __name__ == "__main__":
    main(*sys.argv[1:])
