#!/usr/bin/env bash
# Few labels and none, on drawn and real images. From the project's root; networks and tables go to runs/, figures beside
# the results. What is finished is not done again:
#   bash benchmarks/few_labels/run.sh
set -euo pipefail
here=benchmarks/few_labels data=${DATA:-../shared/data} runs=${RUNS:-runs} results=${RESULTS:-benchmarks/results/few_labels}
findings="Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumonia Pneumothorax Consolidation Edema Emphysema Fibrosis Pleural_Thickening Hernia"
# Every second label, so that each half knows diffuse and local, bright and dark findings.
first='["Atelectasis", "Effusion", "Mass", "Pneumonia", "Consolidation", "Emphysema", "Pleural_Thickening"]'
second='["Cardiomegaly", "Infiltration", "Nodule", "Pneumothorax", "Edema", "Fibrosis", "Hernia"]'

# Weights from images without labels, against fresh ones, for each seed and cohort.
for study in "" _findings; do
    folders=()
    for seed in ${SEEDS:-0 1 2}; do
        folder="$runs/pretrained$study$seed"
        [ -f "$folder/backbone.safetensors" ] ||
            resight pretrain "$here/pretrain$study.toml" --set "training.seed=$seed" --out "$folder" --resume
        folders+=("$folder")
    done
    python "$here/probe.py" "${folders[@]}" --store "$runs/store$study" --out "$results/probe$study.json"
done

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

# Labels by their description alone, each by the network that was not taught it.
[ -d "$runs/findings_phantom" ] || resight data phantom "$runs/findings_phantom" --option images=1500 --option size_px=96 \
    --option prevalence=0.15
drawn="$runs/findings_phantom/cohort.csv --option split_column=split --labels $findings"
for half in first second; do
    for study in findings phantom_findings; do
        folder="$runs/${study}_$half"
        [ -d "$folder" ] || resight train "$here/$study.toml" --out "$folder" --set "cohort.labels=${!half}"
    done
    resight zeroshot "$runs/findings_$half" $nih --descriptions "$here/descriptions.csv" --json > "$results/zeroshot_$half.json"
    resight zeroshot "$runs/phantom_findings_$half" $drawn --descriptions "$here/attributes.csv" --json \
        > "$results/zeroshot_phantom_$half.json"
done
python "$here/new_labels.py" "$results/zeroshot" "$results/zeroshot_phantom"
