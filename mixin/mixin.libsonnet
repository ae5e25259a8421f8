// The rules and dashboards as a monitoring mixin: the very files of rules/ and dashboards/.
// Tested with Jsonnet 0.22; std.parseYaml of 0.18 in C++ breaks off at some of the rules.
{
  _config+:: {
    // What the runbooks' links begin with, before the alert's name and `.md`; when empty they lead to
    // the exporter, by its `web.external_url`.
    runbookUrl: '',
    // The root of Grafana, without a slash at its end; when empty Prometheus' external label
    // `grafana_url` is.
    grafanaUrl: '',
  },

  local config = $._config,
  local rooted(url) =
    if config.grafanaUrl == '' then url
    else std.strReplace(url, '{{ $externalLabels.grafana_url }}', config.grafanaUrl),
  local linked(rule) =
    if std.objectHas(rule, 'annotations') then
      rule {
        annotations+: {
          dashboard_url: rooted(super.dashboard_url),
          [if config.runbookUrl != '' then 'runbook_url']: config.runbookUrl + rule.alert + '.md',
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
