package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"jeton/node/config"
)

const settingsPreface = `
The settings of a node. What Elasticsearch has too has the same name here.

Sources   -E SETTING=VALUE wins over the environment, that over the file, that over
          the default. A setting that does not exist is an error.
File      YAML; dotted names and nested maps mean the same and may be mixed:
          "cluster.name: x" is "cluster: {name: x}". ${VAR} in a value is replaced by the
          environment variable VAR, which must exist.
Variables the name in capitals, with _ for . and -, after JETON_: cluster.name is
          JETON_CLUSTER_NAME.
Duration  a whole number and ms, s, m, h or d, as in 500ms, 30s, 20m, 24h, 7d; 0 needs no unit.
Size      a whole number and b, kb, mb or gb, as in 512b, 64kb, 10mb, 1gb (1kb is 1024b).
List      a YAML list, or one text with commas: [a, b] is "a,b".
Path      a relative path starts at the folder of the file; in a variable or with -E,
          at the working directory.
Bool      true or false.
Range     both ends are allowed.

jeton validate --config FILE tells everything that is wrong with a file.
`

// newSettingsTopic is `jeton help settings`: the table that the program uses.
func newSettingsTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString(strings.TrimPrefix(settingsPreface, "\n"))
	group := ""
	for _, setting := range config.Settings() {
		if setting.Group != group {
			group = setting.Group
			fmt.Fprintf(&b, "\n\n%s\n%s\n", group, strings.Repeat("-", len(group)))
		}
		value := setting.Kind
		if setting.Range != "" {
			value += ", " + setting.Range
		}
		if setting.Default != "" {
			value += ", default " + setting.Default
		}
		fmt.Fprintf(&b, "\n%s  (%s)\n    %s\n", setting.Name, value, strings.ReplaceAll(setting.Doc, "\n", "\n    "))
	}
	return &cobra.Command{Use: "settings", Short: "The settings of a node", Long: b.String()}
}

// topicsByHelp has the list of further topics say how they are read: cobra prints
// their names as if they were commands.
func topicsByHelp(template string) string {
	const asCommand = "{{if .IsAdditionalHelpTopicCommand}}\n  {{rpad .CommandPath .CommandPathPadding}} {{.Short}}"
	const asTopic = "{{if .IsAdditionalHelpTopicCommand}}\n  {{.Root.Name}} help {{rpad .Name .NamePadding}} {{.Short}}"
	return strings.ReplaceAll(template, asCommand, asTopic)
}
