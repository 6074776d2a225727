#!/bin/sh
# torchvision, which vLLM takes for models that read images. It has to be of PyTorch's own build: one for
# CUDA can't be imported beside a PyTorch for CPUs and would break what looks for it, so it is taken away
# again. Models of text do without. Arguments: pip's.
set -eu
python="${VENV:-.venv}/bin/python"
pip="$python -m pip --disable-pip-version-check"

if "$python" -c "import torchvision" 2>/dev/null; then
    exit 0
fi
if $pip install --quiet --no-deps "$@" -r requirements/torchvision.txt 2>/dev/null; then
    if "$python" -c "import torchvision" 2>/dev/null; then
        exit 0
    fi
    $pip uninstall --quiet --yes torchvision
fi
echo "==> going on without torchvision: models that read images can't run in this process. To have it, run" >&2
echo "    make setup TORCH_INDEX_URL=... with PyTorch's index of wheels for CPUs" >&2
