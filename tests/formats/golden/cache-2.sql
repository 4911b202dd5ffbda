BEGIN TRANSACTION;
CREATE TABLE leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL);
CREATE TABLE replies (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    entry TEXT NOT NULL,
    size INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    checksum BLOB
);
INSERT INTO "replies" VALUES('dbec03f3e8cf91b55ab65e874df6932d6190e08e526e3732aa4c8a674ae0ba2f','fake/a','{"model":"fake/a","reply":[{"reasoning":"hm"},{"text":"Z\u00fcrich."},{"finish":"stop","usage":{"input_tokens":120,"output_tokens":30,"cached_input_tokens":64,"cache_write_tokens":8,"reasoning_tokens":12,"total_tokens":150},"served_by":null,"request_id":null}],"stored_at":"2026-11-26T01:24:13.120359+00:00","cost_usd":0.000228,"duration_s":0.501326163000158}',359,1795656253120627235,X'D58261819F84DD9E36F4ECFF6422FAFC');
INSERT INTO "replies" VALUES('0fbdcc14b0225245402c51a60414b6a0ca2689c5fa1987f9b57bafbcc6b6eb44','fake/c','{"model":"fake/c","reply":[{"text":"Bern?"},{"finish":"stop","usage":{"input_tokens":1652,"output_tokens":2,"cached_input_tokens":0,"cache_write_tokens":0,"reasoning_tokens":0,"total_tokens":1654},"served_by":"c","request_id":null}],"stored_at":"2026-11-26T01:24:13.627906+00:00","cost_usd":0.0001656,"duration_s":8.22809997771401e-05}',335,1795656253628097683,X'AE72D0427479032513EBAA0F57785F30');
INSERT INTO "replies" VALUES('23734c56c8828724126428214dd76a881067ca5cff95b2fd04363f80f2911bd9','fake/a','{"model":"fake/a","reply":[{"reasoning":"hm"},{"text":"Z\u00fcrich."},{"finish":"stop","usage":{"input_tokens":120,"output_tokens":30,"cached_input_tokens":64,"cache_write_tokens":8,"reasoning_tokens":12,"total_tokens":150},"served_by":null,"request_id":null}],"stored_at":"2026-11-26T01:24:16.198179+00:00","cost_usd":0.000228,"duration_s":0.5038779860001341}',360,1795656256198377654,X'AEA0FC61006CEE1C928F342EB5990F26');
INSERT INTO "replies" VALUES('5d496cc95bdd5b640e1bc8692896c1462c0c6206fb9a838e5995cc7edcc139fb','fake/a','{"model":"fake/a","reply":[{"reasoning":"hm"},{"text":"Z\u00fcrich."},{"finish":"stop","usage":{"input_tokens":120,"output_tokens":30,"cached_input_tokens":64,"cache_write_tokens":8,"reasoning_tokens":12,"total_tokens":150},"served_by":null,"request_id":null}],"stored_at":"2026-11-26T01:24:16.700758+00:00","cost_usd":1.8e-05,"duration_s":0.5009220249999089}',359,1795656256700970921,X'B9FDAA7DE0240DBB5BC19F8B541DA25D');
INSERT INTO "replies" VALUES('c59c4202785fc9936f0d8c2eff1c816765e51cf36aa8e2137e0e225c7be91fb2','fake/agg','{"model":"fake/agg","reply":[{"reasoning":"The proposals differ."},{"text":"Z\u00fcrich","logprobs":[{"token":"Z\u00fcrich","logprob":-0.1,"top_logprobs":[]}]},{"tool_call":{"index":0,"id":"c1","name":"find","arguments":"{\"q\": "}},{"tool_call":{"index":0,"id":null,"name":null,"arguments":"\"sure\"}"}},{"finish":"tool_calls","usage":{"input_tokens":120,"output_tokens":30,"cached_input_tokens":64,"cache_write_tokens":8,"reasoning_tokens":12,"total_tokens":150},"served_by":"agg-2025","request_id":"r-1"}],"stored_at":"2026-11-26T01:24:16.717741+00:00","cost_usd":0.000228,"duration_s":0.00010478200010766159}',612,1795656256717935697,X'F7E32B4FBA01BFF56B4C5CB362775C4C');
CREATE INDEX replies_by_use ON replies (used_at, size);
COMMIT;
PRAGMA application_id = 1836015971;
PRAGMA user_version = 2;
