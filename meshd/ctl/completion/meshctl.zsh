#compdef meshctl
# zsh completion for meshctl

_meshctl_nodes() {
  local -a nodes
  nodes=(${(f)"$(meshctl nodes -o name 2>/dev/null)"})
  compadd -a nodes
}

_meshctl_policies() {
  local -a policies
  policies=(${${(f)"$(meshctl get policies 2>/dev/null)"}%% *})
  compadd -a 'policies[2,-1]'
}

_meshctl() {
  local -a commands common
  commands=(
    'status:this node and its peers'
    'leaks:who sends how much unencrypted'
    'peer:all that is known of one peer'
    'plan:what meshd would change now'
    'graph:the mesh in DOT'
    'reload:read the configuration again'
    'drain:leave the mesh without losing a packet'
    'resume:come back after a drain'
    'allow-plaintext:accept that a peer is encrypted no more'
    'nodes:what the store holds'
    'apply:put encryption policies into the store'
    'get:what the store holds'
    'delete:remove from the store'
    'explain:which policy decides for a pair, and why'
    'node:delete or forget the record of a node'
    'store:copy one store into another'
    'version:versions of meshctl and meshd'
    'completion:completion script for a shell'
  )
  common=(
    '--socket[the Unix socket of meshd]:path:_files'
    '--timeout[how long to wait for meshd]:seconds:'
    '(- *)--help[help]'
  )
  local state
  _arguments -C $common '(- *)--version[version]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
        status)
          _arguments $common '(-o --output)'{-o,--output}'[format]:format:(table wide json yaml)' \
            '--watch[redraw]' '--interval[seconds between redraws]:seconds:' \
            '--check[fail unless every peer is encrypted]' '--color[colors]:when:(auto always never)' ;;
        leaks)
          _arguments $common '(-o --output)'{-o,--output}'[format]:format:(table wide json yaml)' \
            '--watch[redraw]' '--interval[seconds between the samples]:seconds:' \
            '--check[fail if anything leaks]' '--color[colors]:when:(auto always never)' ;;
        peer)
          _arguments $common '(-o --output)'{-o,--output}'[format]:format:(text json yaml)' \
            '1:node:_meshctl_nodes' ;;
        allow-plaintext) _arguments $common '1:node:_meshctl_nodes' ;;
        nodes)
          _arguments $common '(-o --output)'{-o,--output}'[format]:format:(table json yaml name)' ;;
        apply) _arguments $common '*'{-f,--file}'[a file of policies]:file:_files' ;;
        get)
          _arguments $common '(-o --output)'{-o,--output}'[format]:format:(table json yaml)' \
            '1:what:(policies)' ;;
        delete) _arguments $common '1:what:(policy)' '2:policy:_meshctl_policies' ;;
        explain)
          _arguments $common '(-o --output)'{-o,--output}'[format]:format:(text json yaml)' \
            '1:node:_meshctl_nodes' '2:node:_meshctl_nodes' ;;
        completion) _arguments '1:shell:(bash zsh fish)' ;;
        *) _arguments $common ;;
      esac ;;
  esac
}

# Works both when autoloaded from $fpath and when sourced.
if [[ $funcstack[1] == _meshctl ]]; then
  _meshctl "$@"
else
  compdef _meshctl meshctl
fi
