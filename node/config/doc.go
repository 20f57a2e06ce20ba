// Package config is the configuration of a node: its settings, their defaults,
// sources and validation. It reads and never acts on what it read.
//
// # Sources
//
// A flag wins over the environment, that over the file, that over the default.
//
//   - The file is YAML as in elasticsearch.yml: cluster.name: x and nested maps mean
//     the same and may be mixed; a setting given twice is an error. ${VAR} in a value
//     is replaced by the environment variable VAR, which must exist.
//   - The environment variable of a setting is its name in capitals, dots and dashes
//     replaced: cluster.name is JETON_CLUSTER_NAME.
//   - A relative path in the file starts at the file's folder, elsewhere at the
//     working directory.
//
// Unknown settings are errors. All problems are reported at once. Values of secret
// settings never appear in an error.
//
// # Durations, sizes, lists
//
// Durations are whole numbers with a unit, as in Elasticsearch: 500ms, 30s, 20m, 24h,
// 7d; zero needs none. Sizes: 512b, 64kb, 10mb, 1gb. A list is a YAML list or one string
// with commas.
//
// The settings, from the same table that the program uses: SETTINGS.md.
package config
