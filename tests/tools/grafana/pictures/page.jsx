// One dashboard as Grafana's own components draw it, without Grafana.
// What a server of Grafana does, asking Prometheus and filling in $__range and its like, is here.
import React from 'react';
import { createRoot } from 'react-dom/client';
import { lastValueFrom } from 'rxjs';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, ThemeContext, TimeSeries } from '@grafana/ui';
import {
  FieldType,
  applyFieldOverrides,
  createTheme,
  dateTime,
  getFieldDisplayName,
  getFieldDisplayValues,
  standardTransformers,
  standardTransformersRegistry,
  toDataFrame,
  transformDataFrame,
} from '@grafana/data';

const asked = new URLSearchParams(location.search);
const prometheus = asked.get('prometheus');
const to = Number(asked.get('to'));
const span = Number(asked.get('span'));
const chosen = JSON.parse(asked.get('chosen')); // values of variables; the others are "All"
const MIN_STEP = 60; // what the dashboards' queries have as their min step
const [COLUMN, ROW] = [58, 38];
const theme = createTheme({ colors: { mode: 'dark' } });
const range = { from: dateTime((to - span) * 1000), to: dateTime(to * 1000), raw: { from: '', to: '' } };
const replaceVariables = (text) => text;

const { mergeTransformer, organizeFieldsTransformer } = standardTransformers;
standardTransformersRegistry.setInit(() =>
  [mergeTransformer, organizeFieldsTransformer].map((transformation) => ({
    id: transformation.id,
    name: transformation.name,
    transformation: async () => transformation,
  }))
);

function filled(query, step) {
  const window = Math.max(step + MIN_STEP, 4 * MIN_STEP);
  const known = { __range: `${span}s`, __rate_interval: `${window}s`, __interval: `${step}s`, __interval_ms: step * 1000, ...chosen };
  return query.replace(/\$([a-z_]\w*)/g, (_, name) => known[name] ?? '.*'); // $1 is one of label_replace
}

async function answer(path) {
  const content = await (await fetch(`${prometheus}/api/v1/${path}`)).json();
  if (content.status !== 'success') throw new Error(content.error);
  return content.data.result;
}

function called(format, labels) {
  return format.replace(/\{\{(\w+)\}\}/g, (_, name) => labels[name] ?? '').trim() || 'Value';
}

function stepOf(panel) {
  return Math.max(Math.ceil(span / (panel.maxDataPoints ?? 400) / 15) * 15, MIN_STEP);
}

async function graph(panel, target) {
  const step = stepOf(panel);
  const end = Math.floor(to / step) * step;
  const query = encodeURIComponent(filled(target.expr, step));
  const result = await answer(`query_range?query=${query}&start=${end - span}&end=${end}&step=${step}`);
  const times = Array.from({ length: Math.floor(span / step) + 1 }, (_, n) => end - span + n * step);
  return result.map(({ metric, values }) => {
    const told = new Map(values.map(([at, value]) => [at, Number(value)]));
    const name = called(target.legendFormat, metric);
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: times.map((at) => at * 1000) },
        {
          name: 'Value',
          type: FieldType.number,
          labels: metric,
          values: times.map((at) => told.get(at) ?? null),
          config: { displayNameFromDS: name },
        },
      ],
    });
  });
}

async function instant(panel, target) {
  const result = await answer(`query?query=${encodeURIComponent(filled(target.expr, 60))}&time=${to}`);
  if (target.format !== 'table') {
    return result.map(({ metric, value }) => {
      const config = { displayNameFromDS: called(target.legendFormat, metric) };
      return toDataFrame({
        fields: [{ name: 'Value', type: FieldType.number, labels: metric, values: [Number(value[1])], config }],
      });
    });
  }
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))];
  return [
    toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: result.map(() => to * 1000) },
        ...labels.map((name) => ({
          name,
          type: FieldType.string,
          values: result.map(({ metric }) => metric[name] ?? ''),
        })),
        { name: `Value #${target.refId}`, type: FieldType.number, values: result.map(({ value }) => Number(value[1])) },
      ],
    }),
  ];
}

function configured(panel, frames) {
  const { defaults, overrides } = panel.fieldConfig;
  for (const step of defaults.thresholds.steps) step.value ??= -Infinity;
  for (const field of frames.flatMap((frame) => frame.fields)) {
    if (field.type === FieldType.time) continue;
    const own = field.config;
    field.config = structuredClone({ ...defaults, ...own });
    const name = own.displayNameFromDS ?? own.displayName ?? field.name;
    for (const { matcher, properties } of overrides) {
      if (![matcher.options, ...(matcher.options.names ?? [])].includes(name)) continue;
      for (const { id, value } of properties) {
        const path = id.split('.');
        const last = path.pop();
        path.reduce((at, key) => (at[key] ??= {}), field.config)[last] = value;
      }
    }
    for (const step of field.config.thresholds.steps) step.value ??= -Infinity;
    field.config.custom = { ...field.config.custom, linked: Boolean(field.config.links) };
    delete field.config.links;
  }
  const fieldConfig = { defaults: {}, overrides: [] };
  return applyFieldOverrides({ data: frames, fieldConfig, replaceVariables, theme, timeZone: 'utc' });
}

async function framesOf(panel) {
  const found = await Promise.all(panel.targets.map((t) => (t.instant ? instant : graph)(panel, t)));
  const steps = panel.transformations ?? [];
  let frames = await lastValueFrom(transformDataFrame(steps, found.flat()));
  frames = configured(panel, frames);
  const sort = panel.options.sortBy?.[0];
  if (sort) for (const frame of frames) sorted(frame, sort.displayName);
  return frames;
}

function sorted(frame, name) {
  const by = frame.fields.find((field) => getFieldDisplayName(field, frame) === name)?.values ?? [];
  const order = [...by.keys()].sort((a, b) => (by[b] ?? -Infinity) - (by[a] ?? -Infinity));
  for (const field of frame.fields) field.values = order.map((row) => field.values[row]);
}

// Grafana's table needs more of Grafana than there is here; its fields say how a cell looks.
function Rows({ frame, height }) {
  const line = `1px solid ${theme.colors.border.weak}`;
  const cell = { padding: '5px 8px', whiteSpace: 'nowrap', textAlign: 'left', borderBottom: line };
  const count = Math.min(frame.length, Math.floor(height / 31) - 1);
  const shown = (field, row) => {
    const value = field.values[row];
    if (value === null || value === undefined) return { text: field.config.noValue };
    const { text, suffix, color } = field.display(value);
    const coloured = field.config.custom?.cellOptions?.type === 'color-text';
    const link = field.config.custom?.linked ? theme.colors.text.link : undefined;
    return { text: text + (suffix ?? ''), color: coloured ? color : link };
  };
  return (
    <table style={{ width: '100%', borderCollapse: 'collapse', fontSize: 14 }}>
      <thead>
        <tr>
          {frame.fields.map((field) => (
            <th key={field.name} style={{ ...cell, color: theme.colors.text.secondary }}>{getFieldDisplayName(field, frame)}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {Array.from({ length: count }, (_, row) => (
          <tr key={row}>
            {frame.fields.map((field) => {
              const { text, color } = shown(field, row);
              return <td key={field.name} style={{ ...cell, color }}>{text}</td>;
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

// Grafana's status history and heat map are no components of its libraries: cells in rows, drawn here.
function Cells({ rows, width, height, left }) {
  const size = { x: (width - left) / Math.max(...rows.map(({ cells }) => cells.length)), y: height / rows.length };
  return (
    <svg width={width} height={height} fontSize={11} fill={theme.colors.text.primary}>
      {rows.map(({ name, cells }, row) => (
        <g key={row}>
          <text x={0} y={(row + 0.5) * size.y + 4}>{name}</text>
          {cells.map(({ color, opacity }, n) => (
            <rect key={n} x={left + n * size.x} y={row * size.y} width={size.x * 0.9} height={size.y * 0.9} fill={color} fillOpacity={opacity} />
          ))}
        </g>
      ))}
    </svg>
  );
}

function history(frames, most) {
  return frames.slice(0, most).map(({ fields: [, field] }) => ({
    name: field.config.displayNameFromDS,
    cells: field.values.map((value) => (value === null ? { opacity: 0 } : { color: field.display(value).color, opacity: 0.9 })),
  }));
}

function heat(frames) {
  const bound = (field) => Number(field.labels.le.replace('+Inf', 'Infinity'));
  const fields = frames.map(({ fields }) => fields[1]).sort((a, b) => bound(a) - bound(b));
  const counts = fields.map(({ values }, n) => values.map((value, at) => (value ?? 0) - (n ? fields[n - 1].values[at] ?? 0 : 0)));
  const most = Math.max(...counts.flat());
  const rows = fields.map((field, n) => ({
    name: bound(field) < Infinity ? field.display(bound(field)).text + (field.display(bound(field)).suffix ?? '') : 'more',
    cells: counts[n].map((count) => ({ color: theme.visualization.getColorByName('blue'), opacity: Math.sqrt(Math.max(count, 0) / most) })),
    total: counts[n].reduce((sum, count) => sum + Math.abs(count), 0),
  }));
  const last = rows.findLastIndex(({ total }) => total > 0.001);
  return rows.slice(0, last + 1).reverse();
}

function Body({ panel, frames, width, height }) {
  if (!frames.some((frame) => frame.length)) {
    return <div style={{ textAlign: 'center', paddingTop: height / 3 }}>{panel.fieldConfig.defaults.noValue}</div>;
  }
  if (panel.type === 'timeseries') {
    const { legend } = panel.options;
    return (
      <TimeSeries frames={frames} structureRev={1} width={width} height={height} timeRange={range} timeZone="utc" legend={legend} />
    );
  }
  if (panel.type === 'status-history') return <Cells rows={history(frames, panel.options.perPage)} width={width} height={height} left={260} />;
  if (panel.type === 'heatmap') return <Cells rows={heat(frames)} width={width} height={height} left={50} />;
  if (panel.type === 'table') return <Rows frame={frames[0]} height={height} />;
  const reduceOptions = panel.options.reduceOptions;
  const fieldConfig = { defaults: {}, overrides: [] };
  const all = getFieldDisplayValues({ fieldConfig, reduceOptions, replaceVariables, theme, data: frames, timeZone: 'utc' });
  if (panel.type === 'bargauge') {
    const longest = (key) => all.reduce((most, { display }) => (display[key].length > most.length ? display[key] : most), '');
    const alignmentFactors = { title: longest('title'), text: longest('text') };
    const most = Math.max(...all.map(({ display }) => display.numeric));
    return all.map((one, n) => (
      <BarGauge key={n} theme={theme} width={width} height={Math.min(height / all.length, 40) - 4} value={one.display}
        field={{ ...one.field, min: 0, max: most }} display={one.view.getFieldDisplayProcessor(one.colIndex)}
        orientation="horizontal" displayMode="basic" itemSpacing={6} alignmentFactors={alignmentFactors} text={{ titleSize: 14, valueSize: 14 }} />
    ));
  }
  const { colorMode, graphMode, justifyMode, textMode } = panel.options;
  return all.slice(0, 1).map((one, n) => (
    <BigValue key={n} theme={theme} width={width} height={height} value={one.display} colorMode={colorMode}
      graphMode={graphMode} justifyMode={justifyMode} textMode={textMode} />
  ));
}

const pill = { border: `1px solid ${theme.colors.border.medium}`, padding: '2px 8px', marginRight: 14, borderRadius: 2 };

function App({ dashboard, drawn }) {
  const rows = dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h);
  const size = { width: 24 * COLUMN + 16, height: Math.max(...rows) * ROW + 84 };
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div id="dashboard" style={{ ...size, position: 'relative', background: theme.colors.background.canvas }}>
        <h3 style={{ padding: '8px 12px 4px', margin: 0 }}>{dashboard.title}</h3>
        <div style={{ paddingLeft: 12, fontSize: 12 }}>
          {dashboard.templating.list.map(({ name, label, type }) => (
            <span key={label} style={{ whiteSpace: 'nowrap' }}>
              {label} <span style={pill}>{type === 'datasource' ? 'Prometheus' : (chosen[name] ?? 'All')}</span>
            </span>
          ))}
        </div>
        {dashboard.panels.map((panel, n) => {
          const { x, y, w, h } = panel.gridPos;
          const [width, height] = [w * COLUMN - 8, h * ROW - 8];
          const place = { position: 'absolute', left: x * COLUMN + 12, top: y * ROW + 76, width, height };
          if (panel.type === 'row') return <h5 key={n} style={place}>{panel.title}</h5>;
          const { frames, error } = drawn[n];
          return (
            <div key={n} style={place}>
              <PanelChrome title={panel.title} width={width} height={height}>
                {(width, height) =>
                  error ? <pre>{error}</pre> : <Body panel={panel} frames={frames} width={width} height={height} />
                }
              </PanelChrome>
            </div>
          );
        })}
      </div>
    </ThemeContext.Provider>
  );
}

const dashboard = await (await fetch('dashboard.json')).json();
const drawn = await Promise.all(
  dashboard.panels.map((panel) =>
    panel.type === 'row' ? {} : framesOf(panel).then((frames) => ({ frames }), (error) => ({ error: String(error) }))
  )
);
createRoot(document.getElementById('root')).render(<App dashboard={dashboard} drawn={drawn} />);
window.errors = drawn.map(({ error }, n) => error && `${dashboard.panels[n].title}: ${error}`).filter(Boolean);
window.drawn = true;
