/* Asks api/status every two seconds and shows it. Written for the browser of an old tablet: ES5, no build step.
   Whatever comes from the gateway becomes text through textContent, never markup. */
(function () {
  "use strict";

  var EVERY_MS = 2000;
  var PATIENCE_MS = 8000;
  var FIRST_DEVICES = 4;
  var FIRST_ALARMS = 8;
  var lang, theme, shown = null;
  var open = {};       /* lines of which all devices are shown */
  var everyAlarm = false;
  var asked = null;    /* the device whose points are shown */
  var points = null;   /* ... and they, once they have come */

  function recall(key, otherwise) {
    try { return window.localStorage.getItem(key) || otherwise; } catch (error) { return otherwise; }
  }

  function remember(key, value) {
    try { window.localStorage.setItem(key, value); } catch (error) { /* private window: it holds until it is closed */ }
  }

  function word(key, values) {
    var text = WORDS[lang][key];
    if (text === undefined) { return key.replace(/^[a-z]+_/, ""); }  /* a word newer than the page */
    return text.replace(/\{(\w+)\}/g, function (_, name) { return String(values[name]); });
  }

  function both(text) { return text[lang] || text.zh || text.en || ""; }

  /* ---------------------------------------------------------------- numbers */

  function age(seconds) {
    var s = Math.max(Math.round(seconds), 0);
    if (s < 60) { return s + " " + word("s"); }
    if (s < 3600) { return Math.floor(s / 60) + " " + word("min"); }
    if (s < 86400) { return Math.floor(s / 3600) + " " + word("h") + " " + Math.floor(s % 3600 / 60) + " " + word("min"); }
    return Math.floor(s / 86400) + " " + word("d") + " " + Math.floor(s % 86400 / 3600) + " " + word("h");
  }

  function since(ms) { return age((shown.t - ms) / 1000); }

  function seconds(value) {
    if (value === null) { return "–"; }
    if (value >= 600) { return age(value); }
    return (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)) + " s";
  }

  function percent(share) { return (100 * share).toFixed(share < 0.1 && share > 0 ? 1 : 0) + " %"; }

  function bytes(value) {
    var units = ["B", "KiB", "MiB", "GiB", "TiB"], unit = 0;
    while (value >= 1024 && unit < 4) { value /= 1024; unit += 1; }
    return value.toFixed(unit && value < 100 ? 1 : 0) + " " + units[unit];
  }

  /* ---------------------------------------------------------------- the document */

  function by(id) { return document.getElementById(id); }

  function make(tag, className, parent) {
    var node = document.createElement(tag);
    if (className) { node.className = className; }
    if (parent) { parent.appendChild(node); }
    return node;
  }

  function say(node, text) { if (node.textContent !== text) { node.textContent = text; } }

  function dress(node, className) { if (node.className !== className) { node.className = className; } }

  /* One child of parent per item, in order; children are kept, so that nothing flickers or loses the focus. */
  function each(parent, items, keyOf, create, update) {
    var old = parent.kept || {}, kept = {}, place = parent.firstChild, i, key, child;
    for (i = 0; i < items.length; i += 1) {
      key = "k" + keyOf(items[i]);
      child = old[key] || create(items[i]);
      kept[key] = child;
      if (child === place) { place = place.nextSibling; } else { parent.insertBefore(child, place); }
      update(child, items[i]);
    }
    for (key in old) { if (!kept[key]) { parent.removeChild(old[key]); } }
    parent.kept = kept;
  }

  function idOf(item) { return item.id; }

  /* Pairs of label and value; a pair is [key, value] or [key, value, class]. */
  function figures(parent, pairs) {
    each(parent, pairs, function (pair) { return pair[0]; }, function () {
      var span = make("span");
      span.label = make("span", "soft", span);
      span.value = make("b", "", span);
      return span;
    }, function (span, pair) {
      say(span.label, word(pair[0]));
      say(span.value, pair[1]);
      dress(span.value, pair[2] || "");
    });
  }

  /* ---------------------------------------------------------------- tiles, alarms */

  function total(items, key) {
    return items.reduce(function (sum, item) { return sum + item[key]; }, 0);
  }

  function tiles(state) {
    var devices = total(state.lines, "members"), silent = total(state.lines, "silent");
    var opened = state.lines.filter(function (line) { return line.open; }).length;
    var connected = state.uplinks.filter(function (uplink) { return uplink.connected; }).length;
    var busiest = state.lines.reduce(function (most, line) { return Math.max(most, line.busy_1m); }, 0);
    var urgent = state.alarms.some(function (alarm) { return alarm.priority === "critical" || alarm.priority === "high"; });
    var closed = state.lines.reduce(function (sum, line) { return sum + (line.open ? 0 : line.members); }, 0);
    var down = state.lines.reduce(function (sum, line) { return sum + (line.open ? line.silent : line.members); }, 0);
    var full = state.store.budget_bytes ? state.store.bytes / state.store.budget_bytes : 0;
    each(by("tiles"), [
      ["t_alarms", String(state.alarms.length), state.alarms.length ? (urgent ? "bad" : "warn") : "good"],
      ["t_devices", (devices - down) + " / " + devices, silent || closed ? "bad" : "good"],
      ["t_lines", opened + " / " + state.lines.length, opened < state.lines.length ? "bad" : "good"],
      ["t_busy", percent(busiest), load(busiest)],
      ["t_uplinks", connected + " / " + state.uplinks.length, connected < state.uplinks.length ? "bad" : ""],
      ["t_waiting", String(total(state.uplinks, "waiting")), ""],
      ["t_store", percent(full), load(full)]
    ], function (tile) { return tile[0]; }, function () {
      var node = make("div", "tile");
      node.value = make("b", "", node);
      node.label = make("span", "", node);
      return node;
    }, function (node, tile) {
      say(node.value, tile[1]);
      dress(node.value, tile[2]);
      say(node.label, word(tile[0]));
    });
  }

  function load(share) { return share > 0.95 ? "bad" : share > 0.8 ? "warn" : ""; }

  function where(place) {
    return ["grid", "building", "unit", "floor", "room"].map(function (level) { return place[level]; })
      .filter(function (text) { return text; }).join(" ");
  }

  /* Items under the building and entrance where they are; the place of the first item comes first. No headings where
     all are in one place. */
  function byGroup(items) {
    var groups = {}, order = [], rows = [];
    items.forEach(function (item) {
      var id = "k" + item.group.id;
      if (!groups[id]) { groups[id] = []; order.push(item.group); }
      groups[id].push(item);
    });
    order.forEach(function (group) {
      if (order.length > 1) { rows.push({heading: {id: "place " + group.id, name: group.name}}); }
      groups["k" + group.id].forEach(function (item) { rows.push({item: item}); });
    });
    return rows;
  }

  function alarms(state) {
    var n = state.alarms.length;
    by("no-alarms").hidden = n > 0;
    by("more-alarms").hidden = n <= FIRST_ALARMS;
    say(by("more-alarms"), everyAlarm ? word("fewer_alarms") : word("all_alarms", {n: n}));
    each(by("alarms"), byGroup(everyAlarm ? state.alarms : state.alarms.slice(0, FIRST_ALARMS)), function (row) {
      return row.heading ? row.heading.id : row.item.rule + "@" + row.item.device;
    }, function (row) {
      var item = make("li", row.heading ? "place" : "");
      if (row.heading) { return item; }
      var first = make("div", "", item);
      item.badge = make("span", "badge", first);
      item.message = make("span", "message", first);
      item.response = make("div", "response", item);
      item.under = make("div", "under", item);
      return item;
    }, function (item, row) {
      var alarm = row.item;
      if (row.heading) { say(item, both(row.heading.name)); return; }
      var calm = alarm.priority !== "critical" && alarm.priority !== "high";
      var message = both(alarm.message) || both(alarm.name) || alarm.rule;
      dress(item, alarm.priority + (alarm.state === "rtn_unack" ? " over" : ""));
      dress(item.badge, "badge " + (calm ? "warn" : "bad"));
      say(item.badge, word("priority_" + alarm.priority));
      say(item.message, message);
      say(item.response, both(alarm.response));
      item.response.hidden = !both(alarm.response);
      say(item.under, [
        word("state_" + alarm.state), alarm.since + " " + word("for", {age: since(alarm.since_ms)}), where(alarm.place),
        both(alarm.device_name), alarm.rule + (alarm.device ? "@" + alarm.device : ""),
        alarm.count > 1 ? word("times", {n: alarm.count}) : "", alarm.known ? "" : word("unknown_data"),
        alarm.shadow ? word("shadow") : ""
      ].filter(function (text) { return text && message.indexOf(text) < 0; }).join(" · "));
    });
  }

  /* ---------------------------------------------------------------- lines and devices */

  var COLUMNS = [["device", ""], ["state", ""], ["period", "n"], ["p50", "n"], ["p95", "n"],
    ["polls_failures", "n less"], ["cost", "n less"], ["wasted", "n"]];

  function newLine(line) {
    var card = make("div", "card");
    var head = make("div", "head", card), table, row;
    card.name = make("h3", "", head);
    card.port = make("span", "port", head);
    card.badge = make("span", "badge", head);
    card.bar = make("i", "", make("div", "bar", card));
    card.figures = make("div", "figures", card);
    table = make("table", "", make("div", "wide", card));
    row = make("tr", "", make("thead", "", table));
    card.columns = COLUMNS.map(function (column) { return make("th", column[1], row); });
    card.rows = make("tbody", "", table);
    card.more = make("button", "more", card);
    card.more.type = "button";
    card.more.onclick = function () { open[line.id] = !open[line.id]; draw(); };
    return card;
  }

  function showLine(card, line) {
    var few = line.devices.filter(function (device, i) { return device.silent_s !== null || device.late || i < FIRST_DEVICES; });
    var rows = open[line.id] ? line.devices : few;
    say(card.name, line.id);
    say(card.port, line.port);
    say(card.badge, word(line.open ? "open" : "closed"));
    dress(card.badge, "badge " + (line.open ? "good" : "bad"));
    card.bar.style.width = 100 * line.busy_1m + "%";
    dress(card.bar, load(line.busy_1m));
    figures(card.figures, [
      ["busy_1m", percent(line.busy_1m), load(line.busy_1m)],
      ["busy", percent(line.busy)],
      ["silent_devices", line.silent + " / " + line.members, line.silent ? "bad" : ""],
      ["late_devices", String(line.late), "warn"],
      ["wasted_line", percent(line.wasted), line.wasted > 0.05 ? "warn" : ""],
      ["polls", String(line.polls)],
      ["failures", line.failures + (line.polls ? " (" + percent(line.failures / line.polls) + ")" : "")],
      ["skipped", String(line.skipped)],
      ["opened", String(line.opened)],
      ["rebuilt", String(line.rebuilt), "warn"]
    ].filter(function (pair) { return pair[1] !== "0" || pair[0] === "polls"; }));
    COLUMNS.forEach(function (column, i) { say(card.columns[i], word(column[0])); });
    each(card.rows, withDetail(rows), function (row) { return row.key; }, function (row) {
      return row.heading ? newHeading() : row.detail ? newDetail() : newDevice(row.device);
    }, function (node, row) {
      if (row.heading) { say(node.cell, both(row.heading.name)); } else if (row.detail) { showDetail(node); } else { showDevice(node, row.device); }
    });
    card.more.hidden = few.length === line.devices.length;
    say(card.more, open[line.id] ? word("show_fewer", {n: FIRST_DEVICES}) : word("show_all", {n: line.devices.length}));
  }

  function withDetail(devices) {
    var rows = [];
    byGroup(devices).forEach(function (row) {
      var device = row.item;
      if (row.heading) { rows.push({key: row.heading.id, heading: row.heading}); return; }
      rows.push({key: device.id, device: device});
      if (device.id === asked) { rows.push({key: device.id + " points", detail: true}); }
    });
    return rows;
  }

  function newHeading() {
    var row = make("tr", "place");
    row.cell = make("th", "", row);
    row.cell.colSpan = COLUMNS.length;
    return row;
  }

  function newDevice(device) {
    var row = make("tr"), button;
    row.cells_ = COLUMNS.map(function (column) { return make("td", column[1], row); });
    button = make("button", "plain", row.cells_[0]);
    button.type = "button";
    button.onclick = function () { toggle(device.id); };
    row.name = make("span", "", button);
    row.id_ = make("span", "id", button);
    row.button = button;
    row.wasted = make("span", "", row.cells_[7]);
    row.each = make("span", "id", row.cells_[7]);
    return row;
  }

  function showDevice(row, device) {
    var silent = device.silent_s !== null, cells = row.cells_;
    dress(row, silent ? "silent" : device.late ? "late" : "");
    row.button.setAttribute("aria-expanded", String(device.id === asked));
    say(row.name, both(device.name) || device.id);
    say(row.id_, [both(device.name) ? device.id : "", where(device.place)].filter(function (t) { return t; }).join(" · "));
    say(cells[1], silent ? word("silent", {age: age(device.silent_s)})
      : device.late ? word("late") : word(device.polls ? "answering" : "not_asked"));
    dress(cells[1], silent ? "bad" : device.late ? "warn" : device.polls ? "good" : "soft");
    say(cells[2], seconds(device.period_s));
    say(cells[3], seconds(device.p50_s));
    say(cells[4], seconds(device.p95_s));
    say(cells[5], device.polls + " / " + device.failures);
    say(cells[6], seconds(device.cost_s) + " · " + percent(device.cost));
    say(row.wasted, device.failures ? seconds(device.wasted_s) + " · " + percent(device.wasted) : "–");
    say(row.each, device.in_vain_s === null ? "" : word("each", {seconds: seconds(device.in_vain_s)}));
  }

  function newDetail() {
    var row = make("tr", "detail"), cell = make("td", "", row);
    cell.colSpan = COLUMNS.length;
    row.note = make("div", "soft", cell);
    row.points = make("div", "points", cell);
    return row;
  }

  function showDetail(row) {
    var found = points === null || points === false ? [] : points.points;
    var note = points === null ? word("asking") : points === false ? word("no_diagnosis")
      : points.hidden ? word("hidden", {n: points.hidden}) : found.length ? "" : word("no_points");
    say(row.note, note);
    each(row.points, found, idOf, function () { return make("span"); }, function (node, point) {
      var old = point.age_s > 3 * point.interval_s;
      say(node, (both(point.name) || point.id) + " " + word("quality_" + point.quality)
        + (point.reason ? " (" + word("reason_" + point.reason) + ")" : "") + " " + word("ago", {age: age(point.age_s)}));
      dress(node, point.quality === "good" && !old ? "" : point.quality === "bad" ? "bad" : "warn");
    });
  }

  function toggle(device) {
    asked = asked === device ? null : device;
    points = null;
    draw();
    examine();
  }

  /* ---------------------------------------------------------------- uplinks, store */

  function uplinks(state) {
    by("no-uplinks").hidden = state.uplinks.length > 0;
    each(by("uplinks"), state.uplinks, idOf, function () {
      var card = make("div", "card"), head = make("div", "head", card);
      card.name = make("h3", "", head);
      card.since = make("span", "port", head);
      card.badge = make("span", "badge", head);
      card.figures = make("div", "figures", card);
      card.error = make("div", "bad", card);
      return card;
    }, function (card, uplink) {
      say(card.name, uplink.id);
      say(card.since, uplink.since === null ? "" : word("since") + " " + uplink.since);
      say(card.badge, word(uplink.connected ? "connected" : "disconnected"));
      dress(card.badge, "badge " + (uplink.connected ? "good" : "bad"));
      figures(card.figures, [
        ["waiting", uplink.waiting + (uplink.waiting && uplink.waiting_since_ms !== null
          ? word("waiting_since", {age: since(uplink.waiting_since_ms)}) : "")],
        ["in_flight", uplink.in_flight + (uplink.oldest_in_flight_s === null ? ""
          : " (" + word("oldest_in_flight", {seconds: seconds(uplink.oldest_in_flight_s)}) + ")")],
        ["sent", String(uplink.sent)],
        ["acknowledged", String(uplink.acknowledged)],
        ["reconnects", String(uplink.reconnects)],
        ["unheard", String(uplink.unheard), uplink.unheard ? "warn" : ""],
        ["quarantined", String(uplink.quarantined), uplink.quarantined ? "bad" : ""]
      ]);
      say(card.error, [uplink.needs_person ? word("needs_person") : "", uplink.error, uplink.hint].concat(uplink.faults)
        .filter(function (text) { return text; }).join("; "));
    });
  }

  function store(state) {
    say(by("store-note"), word("store_note", {
      bytes: bytes(state.store.bytes), budget: bytes(state.store.budget_bytes), evicted: state.store.evicted,
      damaged: state.store.damaged, dropped: state.dropped
    }));
    each(by("lanes"), state.store.lanes, idOf, function () {
      var row = make("tr");
      row.cells_ = ["", "n", "n", "n", "n", "", "n", "n"].map(function (name) { return make("td", name, row); });
      return row;
    }, function (row, lane) {
      [word("lane_" + lane.id), String(lane.waiting), String(lane.envelopes), String(lane.items), bytes(lane.bytes),
        lane.oldest || "–", String(lane.evicted), String(lane.damaged)].forEach(function (text, i) { say(row.cells_[i], text); });
      dress(row.cells_[6], lane.evicted ? "n bad" : "n");
      dress(row.cells_[7], lane.damaged ? "n bad" : "n");
    });
  }

  /* ---------------------------------------------------------------- the whole */

  function trouble(text) {
    by("trouble").hidden = !text;
    say(by("trouble"), text);
  }

  function draw() {
    var fixed = document.querySelectorAll("[data-word]"), i;
    document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
    for (i = 0; i < fixed.length; i += 1) { say(fixed[i], word(fixed[i].getAttribute("data-word"))); }
    say(by("lang"), word("other_language"));
    say(by("theme"), word(theme === "dark" ? "light" : "dark"));
    if (shown === null) { return; }
    say(by("site"), both(shown.site));
    by("main").hidden = shown.daemon !== "running";
    if (shown.daemon === "running") { running(shown); } else { stopped(shown); }
  }

  function running(state) {
    var hottest = Math.max.apply(null, state.temperatures_c);
    trouble("");
    say(by("about"), word("about", {
      gateway: state.gateway, uptime: age(state.uptime_s), clock: word("clock_" + state.clock),
      disk: bytes(state.disk_free_bytes), temperature: state.temperatures_c.length ? " · " + hottest.toFixed(0) + " °C" : "",
      lag: state.loop_lag_ms.toFixed(0), time: state.time
    }));
    document.title = (state.alarms.length ? "(" + state.alarms.length + ") " : "") + both(state.site) + " · " + word("title");
    tiles(state);
    alarms(state);
    each(by("lines"), state.lines, idOf, newLine, showLine);
    uplinks(state);
    store(state);
  }

  function stopped(state) {
    say(by("about"), word("title") + " " + state.gateway);
    document.title = "⚠ " + both(state.site) + " · " + word("title");
    trouble((state.daemon === "absent" ? word("absent") : word("refused", {detail: state.detail}))
      + (state.silent_s === null ? "" : "\n" + word("absent_since", {age: age(state.silent_s)})));
  }

  /* ---------------------------------------------------------------- asking */

  /* XMLHttpRequest and not fetch(): it has a time-out in browsers that cannot abort a fetch. */
  function ask(path, done) {
    var request = new XMLHttpRequest();
    request.open("GET", path);
    request.timeout = PATIENCE_MS;
    request.onloadend = function () {
      var answer = null;
      if (request.status === 200) { try { answer = JSON.parse(request.responseText); } catch (error) { answer = null; } }
      done(answer);
    };
    request.send();
  }

  function look() {
    if (document.hidden) { window.setTimeout(look, EVERY_MS); return; }
    ask("api/status", function (answer) {
      window.setTimeout(look, EVERY_MS);
      dress(by("main"), answer === null ? "stale" : "");
      if (answer !== null) {
        shown = answer;
        draw();
        examine();
      } else {
        trouble(shown && shown.time ? word("page_gone", {time: shown.time}) : word("page_gone_empty"));
      }
    });
  }

  function examine() {
    var device = asked;
    if (device === null) { return; }
    ask("api/device?id=" + encodeURIComponent(device), function (answer) {
      if (device !== asked) { return; }
      points = answer === null ? false : answer;
      draw();
    });
  }

  function setTheme(name) {
    theme = name;
    document.documentElement.setAttribute("data-theme", theme);
  }

  function begin() {
    by("lang").onclick = function () { lang = lang === "zh" ? "en" : "zh"; remember("lang", lang); draw(); };
    by("theme").onclick = function () { setTheme(theme === "dark" ? "light" : "dark"); remember("theme", theme); draw(); };
    by("more-alarms").onclick = function () { everyAlarm = !everyAlarm; draw(); };
    draw();
    look();
  }

  lang = recall("lang", document.documentElement.lang.slice(0, 2));
  if (!WORDS[lang]) { lang = "zh"; }
  setTheme(recall("theme", window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  document.addEventListener("DOMContentLoaded", begin);
}());
