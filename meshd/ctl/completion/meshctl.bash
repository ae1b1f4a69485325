# bash completion for meshctl
_meshctl_policies() {
  meshctl get policies 2>/dev/null | while read -r name _; do
    [[ $name == NAME ]] || echo "$name"
  done
}
_meshctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} word command=
  local commands='status leaks peer plan graph reload drain resume allow-plaintext nodes node store apply get delete explain version completion'
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ " $commands " == *" $word "* ]] && { command=$word; break; }
  done
  COMPREPLY=()
  case $previous in
    --socket | --from | --to)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return ;;
    --color)
      mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$current")
      return ;;
    --interval | --timeout) return ;;
    -f | --file)
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return ;;
    -o | --output)
      case $command in
        get) mapfile -t COMPREPLY < <(compgen -W 'table json yaml' -- "$current") ;;
        leaks | status) mapfile -t COMPREPLY < <(compgen -W 'table wide json yaml' -- "$current") ;;
        nodes) mapfile -t COMPREPLY < <(compgen -W 'table json yaml name' -- "$current") ;;
        *) mapfile -t COMPREPLY < <(compgen -W 'text json yaml' -- "$current") ;;
      esac
      return ;;
  esac
  local words=
  case $command in
    '') words="$commands --version" ;;
    leaks | status) words='--output --watch --interval --check --color' ;;
    allow-plaintext) words="$(meshctl nodes -o name 2>/dev/null)" ;;
    peer) words="--output $(meshctl nodes -o name 2>/dev/null)" ;;
    nodes) words='--output' ;;
    apply) words='--file' ;;
    get) words='policies --output' ;;
    delete) words="policy $(_meshctl_policies)" ;;
    explain) words="--output $(meshctl nodes -o name 2>/dev/null)" ;;
    node) words="delete forget --yes --force $(meshctl nodes -o name 2>/dev/null)" ;;
    store) words='copy --from --to' ;;
    completion) words='bash zsh fish' ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words --socket --timeout --help" -- "$current")
}
complete -F _meshctl meshctl
