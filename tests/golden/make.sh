#!/usr/bin/env bash
# Lives a clinic's life with this release and packs what it leaves, for a format that is new: tests/golden/make.sh FILE
# What it packs: the archive, the backups of patients' keys, the owner's file, the sheet, the newest note, the digests.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export REKAM_HOME=$work/clinic PATH=$root/.venv/bin:$PATH
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
quietly() { "$@" >/dev/null; }

quietly rekam init --name "Golden clinic"
quietly rekam simulate --patients 8 --events 120 --seed 1
quietly rekam replicate --once
quietly rekam backup full
quietly rekam simulate --patients 8 --events 200 --seed 1
patient() { rekam find --type registration --limit 1000 --json | python3 -c "
import json, sys
print(sorted(e['stream'] for e in json.load(sys.stdin)['events'] if e['stream'].startswith('patient-'))[$1])"; }
printf '%%PDF-1.4 a scan of nobody\n%.0s' {1..300} >"$work/scan.pdf"
quietly rekam attach "$(patient 1)" "$work/scan.pdf" --title "A scan"
quietly rekam backup differential
at=$(rekam replicate --once --json | field complete_through)
at=$(python3 -c "import datetime; print(datetime.datetime.fromtimestamp($at / 1000, datetime.UTC).isoformat())")
quietly rekam simulate --patients 8 --events 260 --seed 1
quietly rekam replicate --once
quietly rekam erase "$(patient 0)" --reason "on request" --order "of a court"
quietly rekam recover --to "$at" --yes
quietly rekam keys rotate signing --reason "a year has passed"
quietly rekam keys rotate recipients --new-identity --reason "a year has passed"
quietly rekam simulate --patients 4 --events 60 --seed 2
quietly rekam backup full --note "after going back"
quietly rekam backup incremental
quietly rekam backup verify --depth restore
quietly rekam drill
quietly rekam keys check

out=$work/out
mkdir "$out"
cp -r "$REKAM_HOME/archive" "$REKAM_HOME/key-backups" "$out/"
cp "$REKAM_HOME/keys/owner.txt" "$REKAM_HOME/keys/sheet.txt" "$REKAM_HOME/keys/seen/newest.note" "$out/"
rekam digest --json >"$out/digest.json"
rekam digest --at "$at" --json >"$out/digest-at.json"
echo "$at" >"$out/at.txt"
tar -C "$out" -cJf "$1" .
