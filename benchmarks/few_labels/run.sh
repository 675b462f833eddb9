#!/usr/bin/env bash
# Few labels and none, on real images. From the project's root; networks and tables go to runs/, figures beside the results:
#   bash benchmarks/few_labels/run.sh
set -euo pipefail
here=benchmarks/few_labels data=${DATA:-../shared/data} runs=${RUNS:-runs} results=${RESULTS:-benchmarks/results/few_labels}
findings="Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia"

for study in pneumonia findings; do
    [ -d "$runs/few_$study" ] || resight train "$here/$study.toml" --out "$runs/few_$study"
done
# The same seed and shares as in the experiment files, so the same patients are held out.
[ -f "$runs/pneumonia.csv" ] || resight data split "$data/cxr_pneumonia_kermany/index.csv" --label-column label --positive PNEUMONIA \
    --fractions 0.6 0.15 0.25 --out "$runs/pneumonia.csv"
[ -f "$runs/findings.csv" ] || resight data split "$data/cxr_nih14_1000/index.csv" --labels $findings --fractions 0.5 0.1 0.4 \
    --out "$runs/findings.csv"

kermany="$runs/pneumonia.csv --images $data/cxr_pneumonia_kermany --label-column subtype --positive virus --option split_column=split"
resight fewshot "$runs/few_pneumonia" $kermany --episodes 600 --json > "$results/virus.json"
resight fewshot "$runs/few_pneumonia" $kermany --episodes 600 --finetune 100 --json > "$results/virus_finetuned.json"
nih="$runs/findings.csv --images $data/cxr_nih14_1000 --option split_column=split --labels $findings"
resight fewshot "$runs/few_findings" $nih --rare --shots 5 --draws 100 --method simpleshot --json > "$results/rare.json"
resight zeroshot "$runs/few_findings" $nih --descriptions "$here/descriptions.csv" --json > "$results/zeroshot.json"
