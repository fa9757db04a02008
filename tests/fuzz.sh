# Coverage-guided fuzzing of fuzz/targets.rs, for tests/proof and tests/run: builds the program as libFuzzer takes it,
# with stable Rust, and runs one target or all of them. For bash; to be sourced at the root of the project.

TARGETS=(signature envelope answers framing tracking times)

# libFuzzer, in a crate of its own, so that it changes no feature of what the program is built from. Fails without a
# C++ compiler or the registry of crates.
build_libfuzzer() {
  local engine=target/fuzz/engine
  type -P c++ >/dev/null || { echo 'libFuzzer needs c++ (Debian: g++)' >&2; return 1; }
  mkdir -p "$engine/src" && : >"$engine/src/lib.rs"
  printf '%s\n' '[workspace]' '[package]' 'name = "engine"' 'version = "0.0.0"' 'edition = "2024"' \
    '[dependencies]' 'libfuzzer-sys = "=0.4.13"' >"$engine/Cargo.toml"
  cargo build --quiet --package libfuzzer-sys --manifest-path "$engine/Cargo.toml" --target-dir "$engine/target"
}

# The program. $1: deep, so that the crates that it is built from lead libFuzzer, too, and all is built anew; else our
# own code alone leads it, which is built beside what the tests have.
build_fuzzer() {
  local engine=target/fuzz/engine/target/debug coverage built=target/debug/fulfilld into=() flags environment=()
  coverage='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
  coverage+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table'
  coverage+=' -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1'
  flags="$coverage -Copt-level=1"
  if [[ ${1-} ]]; then
    local host
    host=$(rustc -vV | sed -n 's/^host: //p')
    # For a named target, so that build scripts go without coverage.
    into=(--target "$host" --target-dir target/fuzz)
    built="target/fuzz/$host/debug/fulfilld"
    environment=(CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=none "RUSTFLAGS=$coverage")
    flags=
  fi
  # The lints are capped because libFuzzer's entry is unsafe code, which the program forbids itself. $flags are words.
  env "${environment[@]}" cargo rustc --locked --quiet --bin fulfilld "${into[@]}" -- $flags --cap-lints allow \
    --extern "libfuzzer_sys=$engine/liblibfuzzer_sys.rlib" -L "dependency=$engine/deps"
  cp "$built" target/fuzz/fulfilld
}

# $1: the target; then libFuzzer's options and directories of inputs.
fuzzer() { FUZZ_TARGET=$1 target/fuzz/fulfilld -verbosity=1 -artifact_prefix=target/fuzz/ "${@:2}" 2>&1; }

# The control: a panic behind five bytes that only coverage leads to, in seconds where it has a processor.
planted_panic() {
  fuzzer control -max_total_time=300 >target/fuzz/control.log || return 0
  echo 'the planted panic was not found' >&2
  return 1
}

# Feeds target $1 for $2 s with seed $3, from the inputs that are kept and Stripe's events on, and says what came of
# it. What libFuzzer says is in target/fuzz/TARGET.log; the last of it is shown where something was found.
feed() {
  local said="target/fuzz/$1.log" new="target/fuzz/new/$1" edges inputs
  mkdir -p "fuzz/corpus/$1" "$new"
  fuzzer "$1" -seed="$3" -max_total_time="$2" -max_len=4096 -print_final_stats=1 "$new" "fuzz/corpus/$1" tests/events \
    >"$said" || { tail -30 "$said"; return 1; }
  edges=$(grep -oE 'cov: [0-9]+' "$said" | tail -1 | cut -d' ' -f2)
  inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$said")
  echo "$inputs inputs, $edges edges"
}

# Every target, two at a time, each for $1 s with seed $2. Nothing is written into the project.
feed_all() {
  local n target running failed=0
  for ((n = 0; n < ${#TARGETS[@]}; n += 2)); do
    running=()
    for target in "${TARGETS[@]:n:2}"; do
      # In one write, so that two do not mix.
      { said=$(feed "$target" "$1" "$2") && printf '%s: %s\n' "$target" "$said" ||
        { printf '%s: FAILED: FULFILLD_SEED=%s\n%s\n' "$target" "$2" "$said"; exit 1; }; } &
      running+=($!)
    done
    for target in "${running[@]}"; do wait "$target" || failed=1; done
  done
  return "$failed"
}
