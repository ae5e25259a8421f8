// The rules and dashboards as a monitoring mixin: the very files of rules/ and dashboards/.
// Tested with Jsonnet 0.22; std.parseYaml of 0.18 in C++ breaks off at some of the rules.
{
  _config+:: {
    // What the runbooks' links begin with.
    runbookUrl: 'docs/runbooks/',
  },

  local runbookUrl = $._config.runbookUrl,
  local linked(rule) =
    if std.objectHas(rule, 'annotations') then
      rule {
        annotations+: {
          runbook_url: std.strReplace(super.runbook_url, 'docs/runbooks/', runbookUrl),
        },
      }
    else rule,
  local groups(text) = [
    group { rules: std.map(linked, super.rules) }
    for group in std.parseYaml(text).groups
  ],

  prometheusAlerts+:: {
    groups+:
      groups(importstr '../rules/builds.yaml') + groups(importstr '../rules/exporter.yaml'),
  },
  prometheusRules+:: {
    groups+: groups(importstr '../rules/recording.yaml'),
  },
  grafanaDashboards+:: {
    'cicd-exporter.json': import '../dashboards/exporter.json',
    'cicd-fleet.json': import '../dashboards/fleet.json',
    'cicd-queue.json': import '../dashboards/queue.json',
    'cicd-workflow.json': import '../dashboards/workflow.json',
  },
}
