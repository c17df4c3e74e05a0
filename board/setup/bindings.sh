#!/bin/bash
# Holds system descriptions (.dts) against the bindings in dts/bindings.
#
#   bindings.sh FILE.dts...
#
# Says file, node and property for everything that no binding allows. dt-validate's exit status
# does not tell (0 with errors), so any output of it counts.
set -euo pipefail
# shellcheck source=board/setup/common.sh
. "$(dirname "$0")/common.sh"

# dt-schema is not in every Debian. libfdt's module, which would have to be compiled, comes from there.
REQUIREMENTS=(dtschema==2026.9 jsonschema==4.26.0 ruamel.yaml==0.19.1 rfc3987==1.3.8)
venv=.cache/venv

if [ ! -e $venv/complete ]; then
    say "installing ${REQUIREMENTS[0]} from PyPI into $venv (once): checks system descriptions against their bindings"
    rm -rf $venv
    /usr/bin/python3 -m venv --system-site-packages $venv
    pip=("$venv"/bin/pip install --quiet --disable-pip-version-check --retries 0)
    if ! { "${pip[@]}" "${REQUIREMENTS[@]:1}" && "${pip[@]}" --no-deps "${REQUIREMENTS[0]}"; }; then
        die "pip could not install ${REQUIREMENTS[*]}; see above. The first check needs the network"
    fi
    touch $venv/complete
fi
PATH=$PWD/$venv/bin:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

complaints() { # FILE.dts
    local tree
    tree=$work/$(basename "$1" .dts).dtb
    dtc -q -I dts -O dtb -o "$tree" "$1" 2>&1 || return 0
    # Only our bindings: those that come with dt-schema want what a board's tree has.
    dt-validate -l dormouse -s "$work/bindings.json" "$tree" 2>&1 |
        sed -e "s|^.*$(basename "$tree")|$1|" \
            -e "s/does not match any of the regexes: .*pinctrl-.*/is not a known property or node/"
}

# A binding with a mistake in it is dropped with a message, and would then allow everything.
problems=$(dt-doc-validate -u dts/bindings dts/bindings 2>&1
    dt-mk-schema -j -o "$work/bindings.json" dts/bindings 2>&1) || true
if [ -n "$problems" ]; then
    printf '%s\n' "$problems" >&2
    exit 1
fi

# The check itself is checked: a property that nobody knows must be named.
cat >"$work/self-test.dts" <<'END'
/dts-v1/;
/ {
    compatible = "dormouse,system";
    service-partition {
        compatible = "dormouse,service-partition";
        image = "sos.img";
        memory = /bits/ 64 <0x400000>;
        snore;
    };
};
END
expected="$work/self-test.dts: /.*service-partition: 'snore' is not a known property"
if ! complaints "$work/self-test.dts" | grep -q "$expected"; then
    echo "bindings.sh: dt-validate let an unknown property pass; its version is not understood" >&2
    exit 1
fi

status=0
for description in "$@"; do
    judged=yes
    problems=$(complaints "$description") || judged=no
    if [ $judged = no ] || [ -n "$problems" ]; then
        printf '%s\n' "${problems:-$description: dt-validate failed and does not say why}" >&2
        status=1
    else
        echo "$description: agrees with its bindings"
    fi
done
exit $status
