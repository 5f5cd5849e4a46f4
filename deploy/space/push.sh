#!/bin/sh
# Push the committed files to a Space in one commit, in public mode: sh deploy/space/push.sh URL
set -eu
url=${1:?the address of the Space, such as https://huggingface.co/spaces/NAME/SPACE}
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git archive HEAD -- Dockerfile .dockerignore app.py cleaner pages assets .streamlit pyproject.toml setup.py \
    requirements.txt LICENSE NOTICE | tar -x -C "$folder"
cp deploy/space/README.md "$folder/README.md"
sed -i '/^CMD /d' "$folder/Dockerfile" # a Space has names of its own; public mode answers to any
echo 'ENV CLEANER_PUBLIC=1' >>"$folder/Dockerfile"
cd "$folder"
git init --quiet --initial-branch main
git lfs install --local
git lfs track "*.safetensors" "*.gif" "*.png" "*.webp" "*.npz" "*.gz"
git add --all
git -c user.name=lab -c user.email=lab@localhost commit --quiet --message "Update the demo"
git push --force "$url" main
