// What a dashboard is, and what the options of each kind of panel are.
import { AnnotationQuery, Dashboard } from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import * as bargauge from '@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import * as heatmap from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import * as statushistory from '@grafana/schema/dist/types/raw/composable/statushistory/panelcfg/x/types.gen';
import * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// What its data source for Prometheus reads of an annotation beside that.
interface Alerts extends AnnotationQuery {
  expr: string;
  step?: string;
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
}
export type Whole = Omit<Dashboard, 'annotations'> & { annotations: { list: Alerts[] } };
export type Options_bargauge = bargauge.Options;
export type Options_heatmap = heatmap.Options;
export type Options_stat = stat.Options;
export type Options_statushistory = statushistory.Options;
export type Options_table = table.Options;
export type Options_timeseries = timeseries.Options;
export type Custom_heatmap = heatmap.FieldConfig;
export type Custom_statushistory = statushistory.FieldConfig;
export type Custom_table = table.FieldConfig;
export type Custom_timeseries = timeseries.FieldConfig;
