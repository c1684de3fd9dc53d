# shellcheck shell=bash
# Sourced by the launchers: errors, usage, and the command that they all start.

# Exit status of a run that saved and stopped before its last step because it was asked to: start it again.
# shellcheck disable=SC2034
STOPPED_EARLY=75

# fail MESSAGE: end with one sentence.
fail() {
  echo "error: $*" >&2
  exit 2
}

# plain NAME VALUE...: refuse control characters, which a log, a manifest or another shell would take for its own.
plain() {
  local value
  for value in "${@:2}"; do
    [[ $value != *[[:cntrl:]]* ]] || fail "$1 holds a control character, such as the end of a line: ${value@Q}."
  done
}

# number NAME VALUE: refuse what is no whole number of 1 or more.
number() {
  [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || fail "$1 is ${2@Q}, but must be a number of 1 or more."
}

# words WORD...: print a command so that a shell reads it back as it is.
words() {
  local word line=''
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=${word@Q}
    line+="${line:+ }$word"
  done
  echo "$line"
}

# usage: the comment at the head of the launcher is its manual.
usage() {
  sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"
}

# python_command MODULE ARGS...: set the array COMMAND to what runs a module (lisa_jax train) or a file (name.py).
python_command() {
  (($#)) || fail "name a command after --, such as: -- lisa_jax train --config=configs/sd21_lisa.py --workdir=runs/a"
  local python=${PYTHON:-python}
  plain 'the command' "$python" "$@"
  case $1 in
    -*) fail "'$1' is no command: after -- comes a module (lisa_jax train) or a file, then its flags." ;;
    *.py) COMMAND=("$python" "$@") ;;
    *) COMMAND=("$python" -m "$@") ;;
  esac
}

# workdir_of ARGS...: the value of --workdir among a command's arguments; nothing where there is none.
workdir_of() {
  local word previous=
  for word; do
    case $word in
      --workdir=*) echo "${word#--workdir=}" ;;
      *) [[ $previous != --workdir ]] || echo "$word" ;;
    esac
    previous=$word
  done
}
